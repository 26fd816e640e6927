// Looks at pages in a browser, as people with other eyes and other hands than its authors meet them: at 1280 and at 400 pixels,
// light and dark. Of each it checks that axe finds no violation, that nothing is wider than the window, that the keyboard reaches
// every control, that scrolling is not captured, and that it asks nobody else for anything; and it keeps pictures.
//
//     node check.mjs BROWSER PICTURES NAME=ADDRESS...
//
// An address with a fragment `#token=…` is that of a service: the token is typed into its form.
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";

// The packages lie where .ci/page has installed them, not beside this file.
const require = createRequire(path.join(process.cwd(), "package.json"));
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [browserPath, pictures, ...pages] = process.argv.slice(2);
const faults = [];
const expect = (holds, message) => { if (!holds) faults.push(message); };

const flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"];
const browser = await chromium.launch({ executablePath: browserPath, headless: true, args: flags });

/** What a page must hold at one width, in one scheme of colours. */
const check = async (name, address, token, width, scheme) => {
  const where = `${name}, ${width} px, ${scheme}`;
  const narrow = width < 720;
  const context = await browser.newContext({
    viewport: { width, height: narrow ? 1600 : 1900 }, colorScheme: scheme, hasTouch: narrow, reducedMotion: "reduce", bypassCSP: false,
  });
  const page = await context.newPage();
  page.on("pageerror", (e) => faults.push(`${where}: ${e.message}`));
  page.on("console", (m) => {
    // A first request without a token is refused, and the browser tells.
    if (m.type() === "error" && !(token && m.text().includes("401"))) faults.push(`${where}: console: ${m.text()}`);
  });
  const own = new URL(address);
  page.on("request", (r) => {
    const to = new URL(r.url());
    const same = own.protocol === "file:" ? to.href === own.href : to.origin === own.origin;
    expect(same || to.pathname === "/favicon.ico", `${where}: asked for ${r.url()}`);
    expect(!token || !r.url().includes(token), `${where}: the token is in an address`);
  });
  await page.goto(address);
  if (token) {
    await axeOf(page, `${where}, before the token`);
    await page.fill("#token", token);
    await page.keyboard.press("Enter");
    await page.waitForSelector("#rows tr");
  }
  await page.waitForSelector("#timeline .bytes .xs span");
  await page.screenshot({ path: path.join(pictures, `${name}-${width}-${scheme}.png`) });
  await page.screenshot({ path: path.join(pictures, `${name}-${width}-${scheme}-whole.png`), fullPage: true });

  await axeOf(page, where);
  const wide = await page.evaluate(() => document.scrollingElement.scrollWidth);
  expect(wide <= width, `${where}: the page is ${wide} px wide`);
  await keyboard(page, where);
  await scrolling(page, where);
  await stepping(page, where);
  if (narrow) await touch(page, where);
  await context.close();
};

const axeOf = async (page, where) => {
  // The page's policy lets no other script in, so this one comes through the browser.
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate(() => window.axe.run());
  for (const v of violations) faults.push(`${where}: axe: ${v.id}: ${v.help}\n    ${v.nodes.map((n) => n.target.join(" ")).join("\n    ")}`);
  console.log(`${where}: axe ${violations.length} violations, ${passes.length} rules passed`);
};

/** Tab comes to every control, in the order in which they are, and shows where it is. */
const keyboard = async (page, where) => {
  const wanted = await page.evaluate(() => {
    const all = [...document.querySelectorAll("a[href], button, input, summary, [tabindex='0']")];
    const visible = all.filter((e) => e.checkVisibility());
    visible.forEach((e, i) => { e.dataset.control = i; });
    document.activeElement.blur();
    window.getSelection().removeAllRanges();
    return visible.length;
  });
  const reached = [];
  for (let i = 0; i < wanted + 2; i++) {
    await page.keyboard.press("Tab");
    const at = await page.evaluate(() => {
      const e = document.activeElement;
      const style = getComputedStyle(e);
      return { control: e.dataset.control, outline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0 };
    });
    if (at.control === undefined) continue;
    reached.push(Number(at.control));
    expect(at.outline, `${where}: control ${at.control} does not show that it has the focus`);
  }
  const missed = [...Array(wanted).keys()].filter((i) => !reached.includes(i));
  expect(wanted > 5 && missed.length === 0, `${where}: Tab does not reach ${missed.length} of ${wanted} controls`);
};

/** A wheel over the chart scrolls the page, and nothing else. */
const scrolling = async (page, where) => {
  await page.evaluate(() => window.scrollTo(0, 0));
  const before = await page.evaluate(() => document.querySelector("#timeline svg").getAttribute("viewBox"));
  await page.setViewportSize({ ...page.viewportSize(), height: 700 });
  const box = await page.locator("#timeline").boundingBox();
  await page.evaluate((y) => window.scrollTo(0, y), Math.max(0, box.y - 200));
  const from = await page.evaluate(() => window.scrollY);
  const now = await page.locator("#timeline").boundingBox();
  await page.mouse.move(now.x + now.width / 2, now.y + now.height / 2);
  await page.mouse.wheel(0, 150);
  await page.waitForTimeout(200);
  const to = await page.evaluate(() => window.scrollY);
  const after = await page.evaluate(() => document.querySelector("#timeline svg").getAttribute("viewBox"));
  expect(to > from, `${where}: the wheel over the chart does not scroll the page (${from} to ${to})`);
  expect(before === after, `${where}: the wheel stretches the chart`);
};

/** The chart is stepped through and stretched from the keyboard. */
const stepping = async (page, where) => {
  const view = () => page.evaluate(() => document.querySelector("#timeline svg").getAttribute("viewBox"));
  const said = () => page.evaluate(() => document.querySelector("#readout").textContent);
  const [whole, nothing] = [await view(), await said()];
  await page.focus("#timeline");
  await page.keyboard.press("ArrowRight");
  const first = await said();
  expect(first !== nothing && first.includes("level"), `${where}: an arrow key says nothing: ${first}`);
  await page.keyboard.press("ArrowRight");
  expect(await said() !== first, `${where}: an arrow key stays where it was`);
  await page.keyboard.press("+");
  expect(await view() !== whole, `${where}: plus does not stretch time`);
  await page.keyboard.press("0");
  expect(await view() === whole, `${where}: 0 does not show all of the run`);
  await page.focus("button[data-do=in]");
  await page.keyboard.press("Enter");
  expect(await view() !== whole, `${where}: the button does not stretch time`);
  await page.click("button[data-do=all]");
  expect(await view() === whole, `${where}: the button does not show all of the run`);
};

/** A finger picks an operation. */
const touch = async (page, where) => {
  const before = await page.evaluate(() => document.querySelector("#readout").textContent);
  await page.locator("#timeline .levels svg").scrollIntoViewIfNeeded();
  const box = await page.locator("#timeline .levels svg").boundingBox();
  await page.touchscreen.tap(box.x + box.width * 0.7, box.y + box.height / 2);
  const after = await page.evaluate(() => document.querySelector("#readout").textContent);
  expect(after !== before && after.includes("level"), `${where}: a tap picks nothing: ${after}`);
};

for (const given of pages) {
  const [, name, address] = /^([^=]+)=(.*)$/.exec(given);
  const [plain, token] = address.split("#token=");
  for (const width of [1280, 400]) {
    for (const scheme of ["light", "dark"]) await check(name, plain, token, width, scheme);
  }
}
await browser.close();
if (faults.length) {
  console.error(`FAILED\n${faults.join("\n")}`);
  process.exit(1);
}
