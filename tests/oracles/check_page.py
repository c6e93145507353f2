"""Opens a report in a headless Chromium, at the width of a phone and of a desk, and judges it.

    python tests/oracles/check_page.py runs/x/report.html --out screenshots

Fails (exit status 1, one line each) on a console message, a request other than for the page itself
and what it holds, a page that is wider than the window (with every folded part open as well), a
link that leads nowhere, an image that is not shown or has no text, and a table that is not
downloaded as it stands in the page. Writes screenshots, in dark mode and as printed too, for eyes.
"""

import argparse
import base64
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from browser import Browser, find_browser

WINDOWS = {"phone": (360, 800), "desk": (1280, 900)}
SLICE = 4000  # CSS pixels of height a screenshot holds
OVERFLOW = """(() => {
  const room = document.scrollingElement;
  const wide = [...document.querySelectorAll('body *')].filter(e =>
    e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.table, pre'));
  return {inner: innerWidth, scroll: room.scrollWidth, height: room.scrollHeight,
    wide: wide.slice(0, 5).map(e => e.tagName + ': ' + e.textContent.trim().slice(0, 60))};
})()"""
CONTENT = """(() => ({
  lost: [...document.querySelectorAll('a[href^="#"]')].map(a => a.getAttribute('href'))
    .filter(h => !document.getElementById(decodeURIComponent(h.slice(1)))),
  images: [...document.images].filter(i => !i.complete || !i.naturalWidth || !i.alt.trim())
    .map(i => i.alt || 'without text'),
  levels: [...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(h => +h.tagName[1]),
  downloads: [...document.querySelectorAll('a[download]')].map(a => [a.download, a.href]),
}))()"""


def check_page(path: Path, out: Path | None = None) -> list[str]:
    """What is wrong with a page.

    Args:
        path: The HTML file.
        out: Folder for screenshots; None for none.

    Returns:
        One line per problem; [] for a good page.
    """
    program = find_browser()
    if program is None:
        raise SystemExit("There is no Chromium on the PATH.")
    problems = []
    with Browser(program) as browser:
        for name, (width, height) in WINDOWS.items():
            problems += [f"{name}: {p}" for p in _check(browser, path, name, width, height, out)]
    return problems


def _check(
    browser: Browser, path: Path, name: str, width: int, height: int, out: Path | None
) -> list[str]:
    target = browser.call("Target.createTarget", url="about:blank")["targetId"]
    session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def ask(expression: str) -> Any:
        answer = browser.call(
            "Runtime.evaluate", session, expression=expression, returnByValue=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["text"])
        return answer["result"].get("value")

    for domain in ("Page", "Runtime", "Log", "Network"):
        browser.call(f"{domain}.enable", session)
    browser.call(
        "Emulation.setDeviceMetricsOverride", session,
        width=width, height=height, deviceScaleFactor=1, mobile=name == "phone",
    )  # fmt: skip
    before = len(browser.events)
    address = path.resolve().as_uri()
    browser.call("Page.navigate", session, url=address)
    loaded = ("Page.loadEventFired", session)
    browser.wait(lambda: any((m, s) == loaded for m, _, s in browser.events[before:]), "the page")
    problems = []
    content = ask(CONTENT)
    problems += [f"the link {h} leads nowhere" for h in content["lost"]]
    problems += [f"an image is not shown or has no text: {alt}" for alt in content["images"]]
    steps = zip(content["levels"], content["levels"][1:], strict=False)
    if content["levels"][:1] != [1] or any(b > a + 1 for a, b in steps):
        problems.append(f"levels of headings are left out: {content['levels']}")
    shots = [("", "false"), ("-open", "true")]
    for suffix, opened in shots:
        ask(f"document.querySelectorAll('details').forEach(d => d.open = {opened})")
        size = ask(OVERFLOW)
        if size["scroll"] > size["inner"]:
            problems.append(
                f"the page is {size['scroll']} wide in a window of {size['inner']}"
                f"{' when unfolded' if suffix else ''}: {size['wide']}"
            )
        if out is not None:
            _screenshots(browser, session, out / f"{name}{suffix}", width, size["height"])
    # Half of them at each width: after ten in a row Chromium asks before it goes on.
    half = ("phone", "desk").index(name)
    problems += _downloads(browser, session, ask, content["downloads"], half)
    if out is not None and name == "desk":
        features = [{"name": "prefers-color-scheme", "value": "dark"}]
        browser.call("Emulation.setEmulatedMedia", session, features=features)
        _screenshots(browser, session, out / "dark", width, min(SLICE, size["height"]))
        ask("document.querySelectorAll('details').forEach(d => d.open = false)")
        printed = browser.call("Page.printToPDF", session, printBackground=True)
        (out / "printed.pdf").write_bytes(base64.b64decode(printed["data"]))
    for method, event, _ in browser.events[before:]:
        if method == "Runtime.consoleAPICalled":
            problems.append(f"console: {[a.get('value') for a in event['args']]}")
        elif method == "Runtime.exceptionThrown":
            problems.append(f"exception: {event['exceptionDetails']['text']}")
        elif method == "Log.entryAdded":
            problems.append(f"console: {event['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            url = event["request"]["url"]
            if url != address and not url.startswith("data:"):
                problems.append(f"request: {url[:200]}")
    browser.call("Target.closeTarget", targetId=target)
    return problems


def _screenshots(browser: Browser, session: str, stem: Path, width: int, height: int) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    for number, top in enumerate(range(0, height, SLICE)):
        clip = {"x": 0, "y": top, "width": width, "height": min(SLICE, height - top), "scale": 1}
        shot = browser.call(
            "Page.captureScreenshot", session, clip=clip, captureBeyondViewport=True
        )
        stem.with_name(f"{stem.name}-{number}.png").write_bytes(base64.b64decode(shot["data"]))


def _downloads(
    browser: Browser, session: str, ask: Any, links: list[list[str]], first: int
) -> list[str]:
    """Clicks on every second table from the first on; the file has to hold what the link does."""
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        browser.call(
            "Browser.setDownloadBehavior", behavior="allow", downloadPath=folder, eventsEnabled=True
        )
        for index, (name, href) in list(enumerate(links))[first::2]:
            before = len(browser.events)

            def finished(before: int = before) -> bool:
                return any(
                    method == "Browser.downloadProgress" and event["state"] != "inProgress"
                    for method, event, _ in browser.events[before:]
                )

            ask(f"document.querySelectorAll('a[download]')[{index}].click()")
            try:
                browser.wait(finished, f"the table {name}", seconds=10)
            except RuntimeError as error:
                problems.append(str(error))
                continue
            path = Path(folder) / name
            expected = base64.b64decode(href.partition(",")[2])
            if not path.is_file() or path.read_bytes() != expected:
                problems.append(f"the table {name} is not downloaded as it stands in the page")
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--out", type=Path, help="folder for screenshots")
    options = parser.parse_args()
    problems = check_page(options.page, options.out)
    size = options.page.stat().st_size / 1e6
    print(f"{options.page}: {size:.2f} MB, {len(problems)} problems")
    print("\n".join(problems))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
