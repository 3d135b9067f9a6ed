// What must hold of report.html in a browser. Its argument is a directory with failing.html,
// passing.html, large.html and evil.html, one run each; with a second one screenshots are written there.
import { axe, check, close, contrast, done, equal, holds, labels, open, overflow, until } from "../../../e2e/browser/page.mjs";

const dir = process.argv[2];
const at = (name, hash = "") => `file://${dir}/${name}.html${hash}`;
const first = "#f-ingress-tcp-over-ipv4-source-translation-automap-hop-by-hop";
const row = "#s-ingress-tcp-over-ipv4-source-translation-automap-hop-by-hop";
const shown = (page) => page.locator("details.check:visible").count();
const count = (page) => page.locator("#count").textContent();

await check("a failing run says what broke", async () => {
  const page = await open(at("failing"));
  equal(await page.title(), "spklab spk: 7 passed, 1 flaky, 4 failed, 1 skipped", "title");
  equal(await page.locator("h1").textContent(), "spk: ✗ 4 failed", "h1");
  equal(await page.locator("#broke .index li").count(), 4, "failures in the index");
  const block = page.locator(first);
  const said = {};
  for (const d of await block.locator("dl.verdict > div").all()) said[await d.locator("dt").textContent()] = (await d.locator("dd").innerText()).replace(/\s+/g, " ");
  equal(said, {
    "Expected": "an answer from app-1 or app-2 within 2 s",
    "Got": "no answer; the packet left f5-tmm-1 for 10.144.100.99, which nobody has",
    "First divergent hop": "f5-tmm-1/net1",
    "Likely layer": "dataplane the proxy's maps and programs",
    "Since": "passed in the baseline of 1 March",
    "Because": "the map spk_nexthops of f5-tmm-1 holds 10.144.100.99 for the member 10.131.1.100:8080, OVN's external gateway is 10.144.100.11",
    "To reproduce": "spklab test --lab spk --seed 42 --focus 'TCP over IPv4, source translation automap, hop by hop' Copy the command for TCP over IPv4, source translation automap, hop by hop",
  }, "verdict");
  equal(await block.locator("h3 .status").textContent(), "new", "status");
  holds((await block.locator("dl.verdict").boundingBox()).y < 900, "the verdict is not on the first screen");
  equal(await block.locator("svg.network .flow.forward").count(), 1, "flows");
  equal(await block.locator("svg.network .box.marked title").textContent(), "f5-tmm-1, tmm on worker-1", "marked node");
  equal(await block.locator("tr.diverges th").textContent(), "f5-tmm-1/net1", "marked hop");
  equal(await block.locator("del").first().textContent(), "10.144.100.11", "before");
  equal(await block.locator("ins").first().textContent(), "10.144.100.99", "after");
  equal(await block.locator(".gaps").textContent(), "conntrack of worker-2: no answer within 2 s", "gaps");
  await close(page);
});

await check("forward and reply look different without colour", async () => {
  const page = await open(at("failing"));
  const line = (kind) => page.locator(`svg.network .flow.${kind} polyline`).first().evaluate((e) => { const s = getComputedStyle(e); return [s.stroke, s.strokeDasharray]; });
  const [forward, reply, expected] = [await line("forward"), await line("reply"), await line("expected")];
  equal(new Set([forward[0], reply[0], expected[0]]).size, 3, "colours");
  equal(new Set([forward[1], reply[1], expected[1]]).size, 3, "dashes");
  holds((await page.locator(".crosslabel").first().textContent()).includes("first divergent hop"), "the mark has no words");
  await close(page);
});

await check("a passing run says so", async () => {
  const page = await open(at("passing"));
  equal(await page.locator("h1").textContent(), "spk: ✓ passed", "h1");
  equal(await page.locator("#broke, .failure").count(), 0, "failures");
  equal(await page.locator("#skipped tbody th").textContent(), "flannel-hostgw", "what is missing");
  equal(await page.locator(".chart svg").count(), 2, "charts");
  await page.locator("summary", { hasText: "200 new connections" }).click();
  equal(await page.locator(".narrow tbody tr").allInnerTexts().then((all) => all.map((t) => t.replace(/\s+/g, " ").trim())), ["f5-tmm-1 10 10", "f5-tmm-2 10 10"], "flows by TMM");
  await close(page);
});

await check("links lead to what they name", async () => {
  const page = await open(at("failing"));
  for (const link of await page.locator('nav a, .index a').all()) {
    await link.click();
    const target = page.locator(await link.getAttribute("href"));
    const inSight = () => target.evaluate((e) => { const top = e.getBoundingClientRect().top; return top > -5 && top < innerHeight; });
    await until(inSight, `${await link.textContent()} to lead where it can be seen`);
  }
  await page.locator(first).getByRole("link", { name: "in the list of all checks" }).click();
  await until(() => page.locator(row).evaluate((e) => e.open), "the row to be open");
  await page.locator(row).getByRole("link", { name: "What broke" }).click();
  await until(() => new URL(page.url()).hash === first, "the address of the failure");
  await close(page);
  const direct = await open(at("failing", row));
  holds(await direct.locator(row).evaluate((e) => e.open), "the row of the address is closed");
  await close(direct);
});

await check("filters", async () => {
  const page = await open(at("failing"));
  equal([await shown(page), await count(page)], [13, "13 checks"], "at first");
  await page.locator("#search").fill("udp ipv6");
  equal([await shown(page), await count(page)], [2, "2 of 13 checks"], "two words");
  equal(await page.locator(".group:visible h3").allTextContents(), ["Ingress"], "groups with something in them");
  await page.locator('input[name=state][value="flaky"]').uncheck();
  equal(await shown(page), 1, "without flaky");
  await page.locator("#search").fill("no such thing");
  equal([await shown(page), await count(page)], [0, "0 of 13 checks"], "nothing");
  await page.getByRole("button", { name: "Show all" }).click();
  await until(async () => await count(page) === "13 checks", "the reset");
  equal(await shown(page), 13, "after the reset");
  await page.locator("#group").selectOption("BGP gate");
  equal(await shown(page), 1, "a group");
  await page.locator("#group").selectOption("");
  await page.locator("#label").selectOption("IPv6");
  equal(await shown(page), 4, "a label");
  await page.locator("#label").selectOption("");
  await page.locator("#search").fill("spk_nexthops");
  equal(await shown(page), 0, "the list does not hold the evidence of failures");
  await page.locator("#search").fill("APP-2");
  equal(await shown(page), 8, "what a check expected");
  equal(await page.locator("#count").getAttribute("aria-live"), "polite", "aria-live");
  await close(page);
});

await check("a link to a row that is filtered out shows it", async () => {
  const page = await open(at("failing"));
  await page.locator('input[name=state][value="failed"]').uncheck();
  holds(!await page.locator(row).isVisible(), "the row is visible");
  await page.locator(first).getByRole("link", { name: "in the list of all checks" }).click();
  await page.locator(row).waitFor({ state: "visible" });
  await close(page);
});

await check("keyboard", async () => {
  const page = await open(at("failing"));
  const focus = () => page.evaluate(() => document.activeElement.id || document.activeElement.className || document.activeElement.textContent.trim());
  await page.keyboard.press("Tab");
  equal(await focus(), "skip", "first");
  holds(await page.locator(".skip").evaluate((e) => e.getBoundingClientRect().top >= 0), "the skip link is out of sight");
  await page.keyboard.press("Tab");
  equal(await focus(), "theme", "second");
  await page.keyboard.press("Space");
  equal(await page.locator("#theme").getAttribute("aria-pressed"), "true", "theme");
  await page.keyboard.press("Tab");
  equal(await focus(), "What broke", "third");
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("Enter");
  await until(async () => await focus() === "content", "the skip link to lead");
  await page.keyboard.press("/");
  equal(await focus(), "search", "slash");
  await page.keyboard.type("bgp/");
  equal(await page.locator("#search").inputValue(), "bgp/", "a slash in the search");
  await page.keyboard.press("Escape");
  equal([await page.locator("#search").inputValue(), await shown(page)], ["", 13], "escape");
  const order = [];
  for (let i = 0; i < 9; i++) { await page.keyboard.press("Tab"); order.push(await page.evaluate(() => document.activeElement.id || document.activeElement.value)); }
  equal(order, ["group", "label", "failed", "interrupted", "flaky", "passed", "skipped", "Show all", "unfold"].map((v) => v === "Show all" ? "" : v), "tab order of the filters");
  await page.keyboard.press("Tab");
  holds(!await page.locator(row).evaluate((e) => e.open), "the row is open");
  await page.keyboard.press("Enter");
  holds(await page.locator(row).evaluate((e) => e.open), "the row is closed");
  holds(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle !== "none"), "the focus cannot be seen");
  const mouse = await page.evaluate(() => Array.from(document.querySelectorAll(".scroll")).filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth && e.tabIndex < 0).length);
  equal(mouse, 0, "parts that only a mouse can scroll");
  await close(page);
});

await check("open and close all", async () => {
  const page = await open(at("failing"));
  await page.locator('input[name=state][value="passed"]').uncheck();
  await page.locator("#unfold").click();
  equal(await page.locator("details.check[open]").count(), 6, "open, of those that are shown");
  await page.locator("#unfold").click();
  equal(await page.locator("details.check[open]").count(), 0, "open");
  await close(page);
});

await check("copy", async () => {
  const page = await open(at("failing"));
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  const button = page.locator(`${first} button.copy`);
  await button.click();
  await until(async () => /^(Copied|Selected)/.test(await button.textContent()), "the button to say so");
  const copied = await page.evaluate(async () => String(getSelection()) || await navigator.clipboard.readText());
  equal(copied, "spklab test --lab spk --seed 42 --focus 'TCP over IPv4, source translation automap, hop by hop'", "copied");
  await close(page);
});

for (const scheme of ["light", "dark"]) {
  for (const name of ["failing", "passing"]) {
    await check(`${name}, ${scheme}: contrast, labels, axe`, async () => {
      const page = await open(at(name), { colorScheme: scheme });
      const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      equal(background, scheme === "dark" ? "rgb(17, 21, 27)" : "rgb(245, 246, 248)", "background");
      await page.evaluate(() => { for (const d of document.querySelectorAll("details")) d.open = true; });
      const texts = await contrast(page), words = await labels(page);
      holds(texts > 150 && words > 20, `${texts} texts, ${words} labels`);
      if (scheme === "light") await axe(page);
      await close(page);
      return `${texts} texts, ${words} labels`;
    });
  }
}

await check("the theme's button overrules the system, in this page alone", async () => {
  for (const [scheme, other] of [["light", "rgb(17, 21, 27)"], ["dark", "rgb(245, 246, 248)"]]) {
    const page = await open(at("failing"), { colorScheme: scheme });
    const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const before = await background();
    await page.locator("#theme").click();
    equal(await background(), other, `from ${scheme}`);
    equal(await page.evaluate(() => [localStorage.length, document.cookie]), [0, ""], "kept elsewhere");
    await page.evaluate(() => { for (const d of document.querySelectorAll("details")) d.open = true; });
    await contrast(page);
    await page.locator("#theme").click();
    equal(await background(), before, "back");
    await page.locator("#theme").click();
    await page.reload();
    equal(await background(), before, "after a reload");
    await close(page);
  }
});

for (const width of [1280, 390]) {
  for (const name of ["failing", "passing", "evil"]) {
    await check(`${name}: nothing reaches over the border at ${width}`, async () => {
      const page = await open(at(name), { width });
      await overflow(page);
      await page.evaluate(() => { for (const d of document.querySelectorAll("details")) d.open = true; });
      await overflow(page);
      await close(page);
    });
  }
}

await check("on paper all is open, and nothing is there to press", async () => {
  const page = await open(at("failing"), { colorScheme: "dark" });
  await page.locator('input[name=state][value="passed"]').uncheck();
  const closed = await page.locator("details:not([open])").count();
  await page.emulateMedia({ media: "print", colorScheme: "dark" });
  equal(await page.locator("button:visible, input:visible, select:visible, nav:visible").count(), 0, "to press");
  equal(await page.evaluate(() => [getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]), ["rgb(255, 255, 255)", "rgb(0, 0, 0)"], "colours");
  const hidden = await page.evaluate(() => Array.from(document.querySelectorAll("details:not([open]) > :not(summary)")).filter((e) => !e.closest("[hidden]") && e.getBoundingClientRect().height < 5).length);
  equal(hidden, 0, "closed parts without a height");
  await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
  equal(await page.locator("details:not([open]), .check[hidden]").count(), 0, "closed or filtered");
  await contrast(page);
  await page.evaluate(() => dispatchEvent(new Event("afterprint")));
  equal(await page.locator("details:not([open])").count(), closed, "closed afterwards");
  const pages = (await page.pdf({ format: "A4" })).toString("latin1").match(/\/Type\s*\/Page\b/g).length;
  holds(pages >= 5, `${pages} pages`);
  await close(page);
  return `${pages} pages`;
});

await check("without JavaScript all can be read", async () => {
  const page = await open(at("failing"), { javaScriptEnabled: false });
  equal(await page.locator("button:visible, input:visible, select:visible").count(), 0, "to press");
  equal(await shown(page), 13, "rows");
  await page.locator(`${row} > summary`).click();
  holds(await page.locator(`${row} .in`).isVisible(), "the row does not open");
  await close(page);
});

await check("for those who do not see it", async () => {
  const page = await open(at("failing"));
  await page.evaluate(() => { for (const d of document.querySelectorAll("details")) d.open = true; });
  for (const role of ["banner", "main", "navigation", "search"]) equal(await page.getByRole(role).count(), 1, role);
  const unnamed = await page.evaluate(() => Array.from(document.querySelectorAll("svg")).filter((s) => s.getAttribute("aria-hidden") !== "true" &&
    !(s.getAttribute("role") === "img" && s.querySelector(":scope > title")?.textContent && s.querySelector(":scope > desc")?.textContent)).length);
  equal(unnamed, 0, "pictures without a title and a description");
  equal(await page.locator("th:not([scope])").count(), 0, "table headers without a scope");
  equal(await page.locator("table:not(:has(th))").count(), 0, "tables without headers");
  const states = await page.locator(".check .state").allTextContents();
  holds(states.every((s) => /^[✓≈✗!–] (passed|flaky|failed|interrupted|skipped)$/.test(s)), `states by colour alone: ${states}`);
  await close(page);
});

await check("what a run holds is text", async () => {
  const page = await open(at("evil"));
  equal(await page.locator("x-evil").count(), 0, "elements of the run");
  holds((await page.locator("body").innerText()).includes("<x-evil>"), "the text of the run is not there");
  await close(page);
});

await check("the largest run", async () => {
  const page = await open(at("large"));
  equal(await page.locator(".failure").count(), 50, "failures");
  equal(await page.locator(".failure > details[open]").count(), 8, "open failures");
  equal(await count(page), "300 checks", "checks");
  const elements = await page.evaluate(() => document.querySelectorAll("*").length);
  holds(elements < 120000, `${elements} elements`);
  const took = await page.evaluate(() => { const s = document.getElementById("search"), began = performance.now(); s.value = "udp"; s.dispatchEvent(new Event("input", { bubbles: true })); return performance.now() - began; });
  const loaded = await page.evaluate(() => performance.getEntriesByType("navigation")[0].loadEventEnd);
  await overflow(page);
  await close(page);
  return `${elements} elements, loaded in ${Math.round(loaded)} ms, first search ${Math.round(took)} ms`;
});

for (const [name, height] of [["failing", 1340], ["passing", 1000]]) {
  for (const colorScheme of process.argv[3] ? ["light", "dark"] : []) {
    await check(`screenshot: ${name}, ${colorScheme}`, async () => {
      const page = await open(at(name), { colorScheme, height });
      await page.screenshot({ path: `${process.argv[3]}/report-${name}-${colorScheme}.png` });
      await close(page);
    });
  }
}

await done();
