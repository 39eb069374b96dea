// A browser on a page behind a tunnel: edit a script and a style, see both change without a reload.
// node hmr.mjs CHROMIUM URL FOLDER
import { readFileSync, writeFileSync } from "node:fs";
import { chromium } from "playwright-core";

const [executablePath, url, folder] = process.argv.slice(2);
const { hostname } = new URL(url);
const args = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--no-proxy-server",
  "--ignore-certificate-errors",
  `--host-resolver-rules=MAP ${hostname} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1`,
];
const browser = await chromium.launch({ executablePath, args, timeout: 20_000 });
try {
  const page = await browser.newPage({ ignoreHTTPSErrors: true });
  page.setDefaultTimeout(10_000);
  const troubles = [];
  page.on("pageerror", (error) => troubles.push(String(error)));
  const connected = page.waitForEvent("console", (line) => line.text().includes("[vite] connected"));
  await page.goto(url);
  await page.waitForFunction(() => document.getElementById("words").textContent === "before");
  await connected;
  await page.evaluate(() => (window.notReloaded = true));

  const edit = async (file, from, to, seen) => {
    const text = readFileSync(`${folder}/${file}`, "utf8");
    const start = performance.now();
    writeFileSync(`${folder}/${file}`, text.replace(from, to));
    await page.waitForFunction(seen);
    return Math.round(performance.now() - start);
  };
  const script = await edit("words.js", "before", "after", () => words.textContent === "after");
  const style = await edit(
    "style.css",
    "1, 1, 1",
    "2, 2, 2",
    () => getComputedStyle(document.body).color === "rgb(2, 2, 2)",
  );
  if (!(await page.evaluate(() => window.notReloaded))) throw new Error("the page was reloaded");
  if (troubles.length > 0) throw new Error(troubles.join("; "));
  console.log(`script after ${script} ms, style after ${style} ms`);
} finally {
  await browser.close();
}
