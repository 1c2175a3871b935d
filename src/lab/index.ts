/** The laboratory's door: topologies as values, and labs built from them. */

export { type BuildOptions, buildLab, Lab } from './build.ts';
export { dialled, gatewaysOf, inKernelPaths } from './by-hand.ts';
export { COMPARED, type CompareReport, compareTable, runCompare } from './compare.ts';
export { allUp, type BraidOptions, Braids, configurationFiles, startBraid } from './daemons.ts';
export * from './datagrams.ts';
export { type DemoAct, type DemoOptions, type DemoReport, runDemo } from './demo.ts';
export * from './gaps.ts';
export { MIDDLEBOXES, type Middlebox } from './middlebox.ts';
export { type ExecOptions, type Exit, LabProcess, type Output } from './netns.ts';
export { type LabEntry, type LabUpOptions, labDown, labExec, labList, labUp, playgroundTopology, removeLeftovers } from './playground.ts';
export { runScenario, type ScenarioReport } from './run-scenario.ts';
export { SCENARIOS } from './scenarios.ts';
export * from './tools.ts';
export { addressOf, bareAddress, type NatKind, type Topology, twoSites, type UplinkOptions, type UplinkSpec } from './topology.ts';
export * from './traffic.ts';
export * from './tunnels.ts';
