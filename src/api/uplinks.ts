/** What one can ask of an uplink at run time, and how the daemon answers: the same words on the wire, in the daemon and in the command line. */
import { BraidError, type ErrorCode } from '../error.ts';
import type { UplinkRole, UplinkStatus } from '../status/types.ts';

/** `enable` takes back `disable` and `drain`. All of it is forgotten with the daemon: the configuration is not changed. */
export type UplinkAction = 'enable' | 'disable' | 'drain';

export type UplinkCommand =
  | { readonly action: UplinkAction }
  /** At least one of the two. */
  | { readonly set: { readonly role?: UplinkRole; readonly metered?: boolean } };

export type UplinkAnswer =
  | { readonly ok: true; readonly uplink: UplinkStatus }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string; readonly hint?: string };

export type UplinkHandler = (name: string, command: UplinkCommand) => Promise<UplinkAnswer>;

const ACTIONS: readonly unknown[] = ['enable', 'disable', 'drain'] satisfies UplinkAction[];
const ROLES: readonly unknown[] = ['active', 'backup'] satisfies UplinkRole[];

/** @param body parsed JSON of whoever asked. @returns undefined where it is no command, or has more than a command has. */
export function parseUplinkCommand(body: unknown): UplinkCommand | undefined {
  if (!isObject(body) || Object.keys(body).length !== 1) return undefined;
  if (ACTIONS.includes(body.action)) return { action: body.action as UplinkAction };
  const { set } = body;
  if (!isObject(set)) return undefined;
  const { role, metered, ...others } = set;
  if (Object.keys(others).length > 0 || (role === undefined && metered === undefined)) return undefined;
  if (role !== undefined && !ROLES.includes(role)) return undefined;
  if (metered !== undefined && typeof metered !== 'boolean') return undefined;
  return { set: { ...(role !== undefined && { role: role as UplinkRole }), ...(metered !== undefined && { metered }) } };
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function unknownUplink(name: string, known: readonly string[]): BraidError {
  return new BraidError('USAGE', `there is no uplink ${name}`, {
    hint: known.length > 0 ? `this site has ${known.join(', ')}` : 'this site has none',
  });
}
