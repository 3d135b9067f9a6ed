// What the scripts that test pages share. A script opens pages, calls check for each thing that must
// hold, and done at its end; each check is written to standard output as a line of JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
let browser, failed = false;

// check runs a function of this page's and writes what came of it; a string that it returns is a note.
export async function check(name, run) {
  const line = { name }, began = performance.now();
  try {
    const note = await run();
    if (typeof note === "string") line.note = note;
  } catch (e) {
    failed = true;
    line.error = String(e.stack || e).slice(0, 4000);
  }
  line.seconds = (performance.now() - began) / 1000;
  process.stdout.write(JSON.stringify(line) + "\n");
}

export async function done() {
  await browser?.close();
  process.exitCode = failed ? 1 : 0;
}

export function equal(got, want, what = "") {
  const g = JSON.stringify(got), w = JSON.stringify(want);
  if (g !== w) throw new Error(`${what}: got ${g}, want ${w}`);
}

export function holds(condition, what) {
  if (!condition) throw new Error(what);
}

// until polls a function of this script's until it holds. (Playwright's waitForFunction evaluates a
// string, which the policy of our pages forbids.)
export async function until(holdsNow, what) {
  for (const end = performance.now() + 60_000; !await holdsNow();) {
    if (performance.now() > end) throw new Error(`waited in vain for ${what}`);
    await new Promise((r) => setTimeout(r, 20));
  }
}

// open opens a page in a context of its own. What goes wrong on it, and what it asks the network for
// besides itself and what allowed() says, is in page.trouble.
export async function open(url, { width = 1280, height = 900, colorScheme = "light", javaScriptEnabled = true, allowed = () => false } = {}) {
  browser ||= await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, javaScriptEnabled });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.trouble = [];
  page.on("console", (m) => { if (m.type() === "error" || m.type() === "warning") page.trouble.push(`console: ${m.text()}`); });
  page.on("pageerror", (e) => page.trouble.push(`error: ${e}`));
  page.on("dialog", (d) => { page.trouble.push(`dialog: ${d.message()}`); d.dismiss(); });
  page.on("request", (r) => { if (r.url().split("#")[0] !== url.split("#")[0] && !allowed(r.url())) page.trouble.push(`request: ${r.url()}`); });
  await page.goto(url);
  return page;
}

// close closes a page and asks that there was no trouble on it but what is expected. What the browser has to say may
// come until the page is closed.
export async function close(page, expected = () => false) {
  await page.context().close();
  equal(page.trouble.filter((t) => !expected(t)), [], "trouble on the page");
}

// axe asks axe-core for faults in accessibility; contrast is computed here, for SVG as well.
export async function axe(page) {
  await page.evaluate(axeSource);
  const found = await page.evaluate(() => axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], rules: { "color-contrast": { enabled: false } } }));
  holds(found.passes.length > 15, `axe looked at ${found.passes.length} rules`);
  equal(found.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.target.join(" ")).join(", ")} (${v.nodes.length})`), [], "axe-core");
}

// overflow asks that nothing reaches over the right border.
export async function overflow(page) {
  const found = await page.evaluate(() => {
    const wide = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= wide) return [];
    return Array.from(document.querySelectorAll("body *")).filter((e) => e.getBoundingClientRect().right > wide + 1 && !e.closest(".scroll, pre, svg"))
      .slice(0, 5).map((e) => `${e.tagName}.${e.className}`).concat(`${document.documentElement.scrollWidth} > ${wide}`);
  });
  equal(found, [], "what reaches over the border");
}

// contrast computes the contrast of every visible text with what lies under it, in HTML and SVG
// (WCAG 2.2, 1.4.3), and asks for 4.5. It says how many texts there were.
export async function contrast(page) {
  const found = await page.evaluate(() => {
    const parse = (c) => { const m = /rgba?\(([\d.]+)[, ]+([\d.]+)[, ]+([\d.]+)(?:[,/ ]+([\d.]+))?\)/.exec(c); return m && { rgb: [+m[1], +m[2], +m[3]], a: m[4] === undefined ? 1 : +m[4] }; };
    const luminance = (rgb) => { const [r, g, b] = rgb.map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const under = (e) => {
      for (let at = e; at; at = at.parentElement) {
        const svg = at instanceof SVGElement && at.tagName === "g" && at.querySelector(":scope > rect");
        const c = parse(svg ? getComputedStyle(svg).fill : getComputedStyle(at).backgroundColor);
        if (c && c.a === 1) return c.rgb;
      }
      return [255, 255, 255];
    };
    const bad = [];
    let count = 0;
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let n = walk.nextNode(); n; n = walk.nextNode()) {
      const e = n.parentElement;
      if (!n.data.trim() || e.closest("script, style, title, desc, option, .hide") || !e.checkVisibility()) continue;
      const style = getComputedStyle(e), ink = parse(e instanceof SVGElement ? style.fill : style.color);
      const [a, b] = [luminance(ink.rgb), luminance(under(e))].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      count++;
      if (ratio < 4.5) bad.push(`${ratio.toFixed(2)} ${e.tagName}.${e.getAttribute("class")} ${n.data.trim().slice(0, 40)}`);
    }
    return { bad: [...new Set(bad)].slice(0, 10), count };
  });
  equal(found.bad, [], "contrast below 4.5");
  return found.count;
}

// labels asks that the texts of each SVG lie apart from each other and inside of it.
export async function labels(page) {
  const found = await page.evaluate(() => {
    const bad = [];
    let count = 0;
    for (const svg of document.querySelectorAll("svg")) {
      if (!svg.checkVisibility()) continue;
      const border = svg.getBoundingClientRect();
      const texts = Array.from(svg.querySelectorAll("text")).map((t) => ({ text: t.textContent, box: t.getBoundingClientRect() }));
      count += texts.length;
      for (const [i, a] of texts.entries()) {
        if (a.box.left < border.left - 1 || a.box.right > border.right + 1 || a.box.bottom > border.bottom + 1 || a.box.top < border.top - 1) bad.push(`${a.text} leaves its picture`);
        for (const b of texts.slice(i + 1)) {
          const x = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left), y = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
          if (x > 1 && y > 3) bad.push(`${a.text} over ${b.text}`);
        }
      }
    }
    return { bad: bad.slice(0, 10), count };
  });
  equal(found.bad, [], "labels");
  return found.count;
}
