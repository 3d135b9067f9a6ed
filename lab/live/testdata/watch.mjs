// What must hold of the page of a running lab in a browser. Its argument is the address, with the
// token; the lab is the fake of server_test.go.
import { axe, check, close, contrast, done, equal, holds, open, overflow, until } from "../../../e2e/browser/page.mjs";

const url = process.argv[2];
const home = url.split("?")[0];
const allowed = (asked) => asked.startsWith(home);
const health = (page) => page.locator("#health").textContent();
const rows = async (page, id) => (await page.locator(`#${id} tr`).allInnerTexts()).map((t) => t.replace(/\s+/g, " ").trim());

// look opens the page and waits for its first answer.
async function look(options) {
  const page = await open(url, { allowed, ...options });
  await until(async () => (await page.locator("#event_rows tr").count()) > 1, "events");
  return page;
}

await check("it shows the lab", async () => {
  const page = await look();
  equal(page.url(), home, "address: the token is gone from it");
  equal(await page.title(), "spklab watch: spk", "title");
  equal(await page.locator("h1").textContent(), "spk (ovn)", "h1");
  equal(await health(page), "✗ app-2 gives no answer, 1 BGP session is down, 1 virtual server is down", "health");
  equal((await rows(page, "virtual_servers"))[0], "✓ up f5-tmm-1 spk-apps/web tcp 192.0.2.10:80 announced 2 1k 0 0 10.131.1.100:8080 (2)", "virtual server");
  equal(await rows(page, "sessions"), ["✓ ESTABLISHED f5-tmm-1 10.0.0.254 64512 1m0s", "✗ ACTIVE: no route to host upstream 10.0.0.1 64522 –"], "sessions");
  equal(await rows(page, "routes"), ["upstream 192.0.2.10/32 10.0.0.1"], "routes");
  holds((await rows(page, "flow_rows"))[0].includes("203.0.113.10:40000 192.0.2.10:80 10.131.1.100:8080 established 1s"), "the flow is not there");
  equal(await page.locator("#beyond").textContent(), "2 more are not listed.", "flows beyond");
  equal(await rows(page, "counter_rows"), ["f5-tmm-1 forwarded 100 0"], "counters");
  await close(page);
});

await check("the picture is drawn", async () => {
  const page = await look();
  await until(() => page.locator("#picture").evaluate((img) => img.naturalWidth > 100), "the picture");
  await close(page);
});

await check("what the lab says is text", async () => {
  const page = await look();
  holds((await rows(page, "virtual_servers"))[1].includes("<img src=x onerror="), "the name is not shown as it is");
  holds((await rows(page, "event_rows")).some((r) => r.includes("<img src=x")), "the detail is not shown as it is");
  equal(await page.locator("main img").count(), 1, "images");
  equal(await page.title(), "spklab watch: spk", "title");
  await close(page);
});

await check("events: the newest first, and a filter", async () => {
  const page = await look();
  holds((await rows(page, "event_rows"))[0].includes("upstream route-learned"), "the newest is not the first");
  holds(/^\d\d:\d\d:\d\d\.\d\d\d /.test((await rows(page, "event_rows"))[0]), "no time of the day");
  await page.locator("#filter").fill("ANNOUNCED");
  equal((await rows(page, "event_rows")).length, 1, "filtered");
  await page.locator("#filter").fill("nothing like it");
  equal(await rows(page, "event_rows"), ["no event holds that"], "none");
  await close(page);
});

await check("without the token there is nothing", async () => {
  const page = await open(home, { allowed });
  holds((await page.locator("body").textContent()).includes("spklab watch has printed"), "no word of what to do");
  await close(page, (trouble) => trouble.includes("403")); // the browser's own word for it
});

for (const colorScheme of ["light", "dark"]) {
  await check(`${colorScheme}: accessible, readable, within its width`, async () => {
    const page = await look({ colorScheme });
    await axe(page);
    await contrast(page);
    await overflow(page);
    await close(page);
  });
}

await check("on a telephone", async () => {
  const page = await look({ width: 380, height: 800 });
  await overflow(page);
  await close(page);
});

await done();
