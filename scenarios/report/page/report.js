"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const all = (selector, from = document) => Array.from(from.querySelectorAll(selector));
  const root = document.documentElement;

  // The theme is the reader's system's until the button is pressed; it is kept in this page alone.
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = $("theme");
  const isDark = () => (root.dataset.theme || (dark.matches ? "dark" : "light")) === "dark";
  const showTheme = () => theme.setAttribute("aria-pressed", String(isDark()));
  theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; showTheme(); });
  dark.addEventListener("change", showTheme);
  theme.hidden = false;
  showTheme();

  // Copy takes the clipboard, or selects the text where there is none.
  const copyText = async (from) => {
    try { await navigator.clipboard.writeText(from.textContent); return true; } catch { /* no clipboard for this page */ }
    getSelection().selectAllChildren(from);
    return document.execCommand("copy");
  };
  for (const button of all("button.copy")) {
    button.hidden = false;
    const label = button.firstChild;
    button.addEventListener("click", async () => { label.data = await copyText($(button.dataset.copy)) ? "Copied" : "Selected"; });
    button.addEventListener("blur", () => { label.data = "Copy"; });
  }

  // The list of all checks.
  const form = $("filter"), search = $("search"), group = $("group"), label = $("label"), count = $("count"), unfold = $("unfold");
  const rows = all("details.check"), groups = all(".group");
  const texts = new Map();
  const text = (row) => {
    if (!texts.has(row)) texts.set(row, (row.dataset.group + " " + row.textContent).toLowerCase());
    return texts.get(row);
  };
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const states = new Set(all("input[name=state]:checked", form).map((i) => i.value));
    let shown = 0;
    for (const row of rows) {
      const fits = states.has(row.dataset.state) && (!group.value || row.dataset.group === group.value) &&
        (!label || !label.value || row.dataset.labels.split("|").includes(label.value)) &&
        words.every((w) => text(row).includes(w));
      row.hidden = !fits;
      if (fits) shown++;
    }
    for (const g of groups) g.hidden = !g.querySelector("details.check:not([hidden])");
    count.textContent = shown === rows.length ? `${shown} checks` : `${shown} of ${rows.length} checks`;
  };
  form.hidden = false;
  form.addEventListener("input", apply);
  form.addEventListener("submit", (e) => e.preventDefault());
  form.addEventListener("reset", () => setTimeout(apply));
  unfold.addEventListener("click", () => {
    const open = unfold.textContent === "Open all";
    for (const row of rows) if (!row.hidden) row.open = open;
    unfold.textContent = open ? "Close all" : "Open all";
  });
  addEventListener("keydown", (e) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName);
    if (e.key === "/" && !typing && !e.ctrlKey && !e.metaKey && !e.altKey) { e.preventDefault(); search.focus(); search.scrollIntoView({ block: "center" }); }
    if (e.key === "Escape" && e.target === search && search.value) { e.preventDefault(); search.value = ""; apply(); }
  });

  // A link opens what it leads to, and what that lies in.
  const reveal = () => {
    const target = location.hash.length > 1 && $(location.hash.slice(1)); // anchors are plain letters
    if (!target) return;
    if (target.matches("details.check") && target.hidden) { form.reset(); setTimeout(reveal); return; }
    for (let e = target; e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true;
    if (target.matches("article")) target.querySelector("details").open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  reveal();

  // On paper everything is open and nothing is filtered out.
  let closed = [], filtered = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    filtered = all(".check[hidden], .group[hidden]");
    for (const d of closed) d.open = true;
    for (const d of filtered) d.hidden = false;
  });
  addEventListener("afterprint", () => {
    for (const d of closed) d.open = false;
    for (const d of filtered) d.hidden = true;
  });
})();
