// Firefox ESR (Debian's), driven by puppeteer-core over WebDriver BiDi. Reads one JSON object a line on standard input,
// answers each with one: {"open": URL} → {"page": n}; {"page": n, "evaluate": EXPRESSION} → {"value": …};
// {"page": n, "screenshot": PATH} → {"value": PATH}. What consoles say of errors is in {"kind": "console", …} lines.
// Its camera and microphone are Firefox's own invented ones. Ends with its input.

import { createInterface } from "node:readline";
import puppeteer from "puppeteer-core";

const say = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

const browser = await puppeteer.launch({
  browser: "firefox",
  executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
  headless: true,
  extraPrefsFirefox: {
    "media.navigator.streams.fake": true,
    "media.navigator.permission.disabled": true,
    "media.autoplay.default": 0,
    "media.autoplay.blocking_policy": 0,
    // OpenH264 is a download: tests are to see what a closed network sees, wherever they run.
    "media.gmp-manager.url": "http://127.0.0.1:9/",
    "media.gmp-gmpopenh264.enabled": false,
  },
});
const pages = [];

async function open(url) {
  const page = await browser.newPage();
  await page.setViewport({ width: 1280, height: 900 });
  page.on("console", (message) => message.type() === "error" && say({ kind: "console", text: message.text() }));
  page.on("pageerror", (error) => say({ kind: "console", text: String(error) }));
  await page.goto(url, { waitUntil: "load" });
  return pages.push(page) - 1;
}

say({ kind: "ready", version: await browser.version() });
for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  try {
    if (asked.open) say({ kind: "done", id: asked.id, value: await open(asked.open) });
    else if (asked.screenshot) {
      await pages[asked.page].screenshot({ path: asked.screenshot });
      say({ kind: "done", id: asked.id, value: asked.screenshot });
    } else say({ kind: "done", id: asked.id, value: (await pages[asked.page].evaluate(asked.evaluate)) ?? null });
  } catch (error) {
    say({ kind: "done", id: asked.id, error: String(error) });
  }
}
await browser.close();
