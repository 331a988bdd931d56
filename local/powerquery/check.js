// Reads {"symbols": path, "names": [...], "queries": {name: text}} and writes {name: [problem, ...]}.
"use strict";
const fs = require("fs");
const parser = require("@microsoft/powerquery-parser");
const services = require("@microsoft/powerquery-language-services");

// These two know their arguments only at run time; the library's list gives them none.
const OPEN = ["Parquet.Document", "AzureStorage.Blobs"];
// Its types are wider than what a query knows of its values: nearly every hit is a false one.
const IGNORED = "Error.InvokeArgumentTypeMismatch";

function library(symbols, names) {
  const made = services.LibrarySymbolUtils.createLibraryDefinitions(symbols);
  const definitions = new Map(parser.ResultUtils.isOk(made) ? made.value : made.error.libraryDefinitions);
  for (const label of [...OPEN, ...names]) {
    definitions.set(label, {
      kind: services.Library.LibraryDefinitionKind?.Constant ?? "Constant",
      label,
      description: "",
      asPowerQueryType: parser.Language.Type.AnyInstance,
      completionItemKind: 6,
    });
  }
  const libraryDefinitions = { staticLibraryDefinitions: definitions, dynamicLibraryDefinitions: () => new Map() };
  return {
    libraryDefinitions,
    externalTypeResolver: services.LibraryDefinitionUtils.externalTypeResolver(libraryDefinitions),
  };
}

async function problems(name, text, known) {
  const document = services.textDocument(name, 1, text);
  const inspectionSettings = services.InspectionUtils.inspectionSettings(parser.DefaultSettings, {
    library: known,
    isWorkspaceCacheAllowed: false,
  });
  const analysis = {
    isWorkspaceCacheAllowed: false,
    traceManager: parser.Trace.NoOpTraceManagerInstance,
    initialCorrelationId: undefined,
    inspectionSettings,
  };
  const settings = services.ValidationSettingsUtils.createValidationSettings(inspectionSettings, {
    source: "model",
    isWorkspaceCacheAllowed: false,
    checkInvokeExpressions: true,
    checkUnknownIdentifiers: true,
    checkDiagnosticsOnParseError: true,
    library: known,
  });
  const result = await services.validate(document, analysis, settings);
  if (parser.ResultUtils.isError(result)) {
    return [String(result.error)];
  }
  return result.value.diagnostics
    .filter((found) => found.code !== IGNORED)
    .map((found) => `${found.range.start.line + 1}:${found.range.start.character + 1} ${found.message}`);
}

async function main() {
  const asked = JSON.parse(fs.readFileSync(0, "utf8"));
  const symbols = JSON.parse(fs.readFileSync(asked.symbols, "utf8").replace(/^\uFEFF/, ""));
  const known = library(symbols, asked.names);
  const found = {};
  for (const [name, text] of Object.entries(asked.queries)) {
    found[name] = await problems(name, text, known);
  }
  process.stdout.write(JSON.stringify(found));
}

main().catch((error) => {
  process.stderr.write(`${error.stack ?? error}\n`);
  process.exitCode = 1;
});
