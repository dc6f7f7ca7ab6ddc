// Compile GliskDemo.sol to GliskDemo.json (ABI and bytecode), the file that the sandbox deploys,
// and the helper contracts of the tests.
//
//   npm ci --ignore-scripts && npm run compile          writes the artefact
//   npm run compile -- --check                          fails if the committed one is stale
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const modules = join(here, "..", "node_modules");
const solc = createRequire(import.meta.url)("solc");
const SOURCES = ["GliskDemo.sol", "TestWallets.sol"];
const TEST_DATA = join(here, "..", "tests", "data");
const ARTEFACTS = [
  { contract: "GliskDemo", source: "GliskDemo.sol", folder: here },
  { contract: "OwnedWallet", source: "TestWallets.sol", folder: TEST_DATA },
  { contract: "WalletFactory", source: "TestWallets.sol", folder: TEST_DATA },
  { contract: "ApprovingWallet", source: "TestWallets.sol", folder: TEST_DATA },
  { contract: "OddWallet", source: "TestWallets.sol", folder: TEST_DATA },
  { contract: "FarcasterIdRegistry", source: "TestWallets.sol", folder: TEST_DATA },
  { contract: "FarcasterKeyRegistry", source: "TestWallets.sol", folder: TEST_DATA },
];

/** One line per ABI entry: small, and still readable in a diff. */
function render({ abi, ...rest }) {
  const entries = abi.map((entry) => "  " + JSON.stringify(entry)).join(",\n");
  const fields = Object.entries(rest).map(([key, value]) => ` "${key}": ${JSON.stringify(value)}`);
  return `{\n${fields.join(",\n")},\n "abi": [\n${entries}\n ]\n}\n`;
}

const output = JSON.parse(
  solc.compile(
    JSON.stringify({
      language: "Solidity",
      sources: Object.fromEntries(
        SOURCES.map((name) => [name, { content: readFileSync(join(here, name), "utf8") }]),
      ),
      settings: {
        optimizer: { enabled: true, runs: 200 },
        // No metadata hash: the bytecode then depends on nothing but code and compiler.
        metadata: { bytecodeHash: "none" },
        outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "storageLayout"] } },
      },
    }),
    { import: (path) => ({ contents: readFileSync(join(modules, path), "utf8") }) },
  ),
);
for (const message of output.errors ?? []) console.error(message.formattedMessage);
if (output.errors?.some((message) => message.severity === "error")) process.exit(1);

let stale = false;
for (const { contract, source, folder } of ARTEFACTS) {
  const compiled = output.contracts[source][contract];
  const text = render({
    contractName: contract,
    compiler: solc.version(),
    abi: compiled.abi,
    bytecode: "0x" + compiled.evm.bytecode.object,
    storage: Object.fromEntries(
      compiled.storageLayout.storage.map((item) => [item.label, Number(item.slot)]),
    ),
  });
  const path = join(folder, `${contract}.json`);
  if (!process.argv.includes("--check")) writeFileSync(path, text);
  else if (readFileSync(path, "utf8") !== text) {
    console.error(`${contract}.json is stale: run npm run compile`);
    stale = true;
  }
}
process.exit(stale ? 1 : 0);
