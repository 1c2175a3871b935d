/** The laboratory's door: topologies as values, and labs built from them. */

export { buildLab, Lab, openLabs } from './build.ts';
export { dialled, gatewaysOf, inKernelPaths } from './by-hand.ts';
export { COMPARED, compareTable, runCompare } from './compare.ts';
export { allUp, type BraidOptions, Braids, configurationFiles, startBraid } from './daemons.ts';
export * from './datagrams.ts';
export { runDemo } from './demo.ts';
export * from './gaps.ts';
export type { Middlebox } from './middlebox.ts';
export { LabProcess, type Output } from './netns.ts';
export { labDown, labExec, labList, labUp, removeLeftovers } from './playground.ts';
export { runScenario } from './run-scenario.ts';
export { SCENARIOS } from './scenarios.ts';
export * from './tools.ts';
export { addressOf, type NatKind, type Topology, twoSites, type UplinkOptions } from './topology.ts';
export * from './traffic.ts';
export * from './tunnels.ts';
