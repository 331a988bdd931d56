"use strict";
// Unpacks the Chromium of the npm package into TMPDIR.
const { join } = require("node:path");
const [packages] = process.argv.slice(2);
const loaded = require(join(packages, "node_modules", "@sparticuz", "chromium"));

(loaded.default ?? loaded).executablePath();
