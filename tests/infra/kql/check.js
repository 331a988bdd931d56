// Reads {"tables": {name: "(column: type, ...)"}, "queries": {name: text}} from standard input and writes, for each
// query, what Microsoft's own parser and binder find wrong with it and which columns it gives.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const vm = require("node:vm");

const write = process.stdout.write.bind(process.stdout); // the library replaces the console
const library = path.join(process.argv[2], "node_modules", "@kusto", "language-service-next");
for (const file of ["bridge.min.js", "Kusto.Language.Bridge.min.js"]) {
  vm.runInThisContext(fs.readFileSync(path.join(library, file), "utf8"), { filename: file });
}

const { KustoCode, GlobalState, Symbols } = globalThis.Kusto.Language;
const { tables, queries } = JSON.parse(fs.readFileSync(0, "utf8"));
const symbols = Object.entries(tables).map(([name, schema]) => Symbols.TableSymbol.From(schema).WithName(name));
const database = new Symbols.DatabaseSymbol.$ctor1("workspace", symbols, false);
const globals = GlobalState.Default.WithDatabase(database);

const items = (list) => Array.from({ length: list.Count }, (_, at) => list.getItem(at));
const answers = {};
for (const [name, text] of Object.entries(queries)) {
  const code = KustoCode.ParseAndAnalyze(text, globals);
  answers[name] = {
    problems: items(code.GetDiagnostics()).map((one) => `${one.Severity} at ${one.Start}: ${one.Message}`),
    columns: code.ResultType?.Columns ? items(code.ResultType.Columns).map((column) => column.Name) : [],
  };
}
write(JSON.stringify(answers));
