import { jsonSchema } from '../../config/schema.ts';
import type { Cli } from '../rooms.ts';

export default function schema(this: Cli): void {
  this.process.stdout.write(`${JSON.stringify(jsonSchema(), null, 2)}\n`);
}
