"""Use the page of forms in a real browser, without a screen."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

# What a person can do with the page, and see of it.
DRIVER = """
const all = (selector, place = document) => [...place.querySelectorAll(selector)];
const texts = (selector) => all(selector).map((element) => element.textContent);
const turn = () => new Promise((done) => setTimeout(done, 50));
const show = async (place) => {
  const find = () => all("nav button").find((button) => button.value === place);
  find().click();
  while (!find().hasAttribute("aria-current")) await new Promise((done) => setTimeout(done));
  await new Promise((done) => setTimeout(done));
};
const press = (text, place = document) => all("button", place).find((one) => one.textContent.trim() === text).click();
const fill = (input, value) => {
  if (input.type === "checkbox") return input.click();
  input.value = value;
  if (input.value !== value) throw new Error(`it does not take ${value}`);
  for (const type of ["input", "change"]) input.dispatchEvent(new Event(type, {bubbles: true}));
};
const option = (select, text) => fill(select, [...select.options].find((one) => one.text === text).value);
const find = (part, path) => all(`#${part} [data-path]`).filter((one) => one.dataset.path === `#/${path}`);
const field = (part, path) => find(part, path).at(-1).querySelector("input, select");
const read = () => ({step: JSON.parse(document.querySelector(".step pre").textContent), wrong: texts(".step li"),
  said: texts(".forms .wrong"), beside: texts(".forms .jedi-error-message small")});
const set = (part, path) => option(find(part, path)[0].querySelector("select"), "set");
"""


def find_browser() -> str:
    """Return the path of Chromium; skip the test without it, and fail in CI."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if not browser:
        if os.environ.get("CI"):
            pytest.fail("CI has to open the page, and there is no chromium")
        pytest.skip("there is no chromium")
    return browser


def use_page(folder: Path, page: str, script: str, given: Any = None) -> Any:
    """Open a page, run a script of what a person does in it, and return `found`.

    Args:
        folder: An empty folder.
        page: The HTML.
        script: It puts what it sees into the list `found`.
        given: Data of the script.
    """
    tail = f"""<script>(async () => {{
    const said = document.createElement("pre"), found = [];
    said.id = "said";
    try {{
      const given = {json.dumps(given)};
      {DRIVER}{script}
      const loaded = performance.getEntriesByType("resource").map(({{name}}) => name);
      said.textContent = JSON.stringify({{found, loaded}});
    }} catch (error) {{ said.textContent = JSON.stringify({{error: `${{error}} ${{error.stack}}`}}); }}
    document.body.append(said);
    }})();</script>"""
    (folder / "page.html").write_text(page + tail, encoding="utf-8")
    command = [find_browser(), "--headless", "--no-sandbox", "--disable-gpu"]
    command += ["--no-first-run", "--disable-background-networking"]
    command += ["--disable-component-update", "--disable-sync", "--disable-quic"]
    command += [f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    command += ["--virtual-time-budget=60000", (folder / "page.html").as_uri()]
    options: dict[str, Any] = {"capture_output": True, "encoding": "utf-8"}
    done = subprocess.run(command, check=True, timeout=300, **options)
    said = re.search(r'<pre id="said">(.*?)</pre>', done.stdout, re.DOTALL)
    assert said, done.stderr
    answer = json.loads(html.unescape(said[1]))
    assert "error" not in answer, answer
    assert answer["loaded"] == []
    return answer["found"]
