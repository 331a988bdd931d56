"use strict";
// Looks at pages in a headless Chromium: reads what to do as JSON from stdin, answers with what was seen.
const { join } = require("node:path");
const [packages] = process.argv.slice(2);
const { chromium } = require(join(packages, "node_modules", "playwright-core"));

async function seen(browser, look) {
  const context = await browser.newContext({
    viewport: { width: look.width, height: look.height },
    colorScheme: look.dark ? "dark" : "light",
    bypassCSP: look.scripts.length > 0,
    extraHTTPHeaders: look.headers,
    reducedMotion: "reduce",
  });
  try {
    const page = await context.newPage();
    const problems = [];
    const requests = [];
    page.on("console", (said) => {
      if (["error", "warning"].includes(said.type())) problems.push(`${said.type()}: ${said.text()}`);
    });
    page.on("pageerror", (error) => problems.push(`exception: ${error.message}`));
    page.on("request", (request) => requests.push(request.url()));
    const answer = await page.goto(look.url, { waitUntil: "load" });
    for (const path of look.scripts) await page.addScriptTag({ path });
    const value = look.evaluate ? await page.evaluate(look.evaluate) : null;
    if (look.screenshot) await page.screenshot({ path: look.screenshot, fullPage: true });
    const status = answer ? answer.status() : 0;
    return { problems, requests, value, status, html: await page.content() };
  } finally {
    await context.close();
  }
}

async function main() {
  let text = "";
  for await (const piece of process.stdin) text += piece;
  const { executable, looks } = JSON.parse(text);
  const browser = await chromium.launch({ executablePath: executable });
  try {
    const found = [];
    for (const look of looks) found.push(await seen(browser, look));
    process.stdout.write(JSON.stringify(found));
  } finally {
    await browser.close();
  }
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exitCode = 1;
});
