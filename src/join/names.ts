/** Where the values of a configuration that a join makes come from: for what is wrong with it (config/reword.ts). */
import type { Naming } from '../config/reword.ts';
import type { Found, Given } from './discover.ts';

/** For a first configuration: what was said, or where it was found. */
export function firstNames({ lan, uplinks }: Found, given: Given): Naming {
  return ([key, index, inner]) => {
    const at = typeof index === 'number' ? index : 0;
    switch (key) {
      case 'site':
        return given.site === undefined ? { name: 'the name of this host', hint: '--site NAME' } : { name: '--site' };
      case 'lan':
        return given.lan ? { name: '--lan' } : { name: `the LAN of ${lan[at]?.device}`, hint: '--lan PREFIX says otherwise' };
      case 'uplink':
        if (inner === 'public') return { name: '--public' };
        return given.uplinks
          ? { name: `--uplink ${given.uplinks[at]}` }
          : { name: `uplink ${uplinks[at]?.name}`, hint: '--uplink DEVICE, once for each, says which are the uplinks' };
      case 'listen':
        return { name: '--listen' };
      default:
        return { name: String(key) };
    }
  };
}

/**
 * For a file that another site would get its section in.
 * @param index where it would stand. @param others for the rest of the file; absent where the file is there.
 */
export function newcomerNames(site: string, index: number, others?: Naming): Naming {
  return (path) => {
    const [key, at, inner] = path;
    if (key !== 'peer' || at !== index) return others?.(path);
    return { name: inner === 'lan' || inner === 'addresses' ? `the ${inner} of ${site}` : site };
  };
}
