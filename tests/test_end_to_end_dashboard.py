"""`hybridtune dashboard` as its user has it: a command, a browser, and a search that is killed meanwhile."""

import json
import os
import shutil
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from conftest import SMALL_LAUNCH, Command, Workplace, wait_until
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
STOPPED_SECONDS = 5.0
ALL_TEXT = """
const text = (node) => [
  node.shadowRoot ? text(node.shadowRoot) : "",
  ...[...node.childNodes].map((child) => child.nodeType === Node.TEXT_NODE ? child.data : text(child)),
].join(" ");
return text(document.body);
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="chromium and chromedriver are not installed"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    """Reaches nothing but this machine, and tells what it asked for."""
    options = Options()
    assert CHROMIUM is not None
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        "--window-size=1300,1000",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield found
    found.quit()


def asked_for(browser: webdriver.Chrome) -> set[str]:
    """Addresses, since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}


def start(place: Workplace, run: str, *options: str) -> tuple[Command, str]:
    """The command and the address that it has printed."""
    command = place.start("dashboard", run, *(options or ("--no-browser",)))
    wait_until(lambda: "dashboard: " in command.stdout, command, 60)
    return command, command.stdout.split("dashboard: ")[1].split()[0]


def text(browser: webdriver.Chrome, identity: str) -> str:
    # In one step: the page may replace the element between two.
    return str(browser.execute_script(f"return document.getElementById('{identity}').innerText"))


def test_a_finished_run_in_the_browser(finished: Workplace, browser: webdriver.Chrome) -> None:
    command, address = start(finished, "run")
    try:
        browser.get(address)
        assert "key=" not in browser.current_url
        trials = pd.read_parquet(finished.path / "run" / "trials.parquet")
        for state in ("complete", "pruned", "failed", "running"):
            assert int(text(browser, state)) == (trials["state"] == state).sum()
        best = trials[trials["state"] == "complete"]["objective"].min()
        assert text(browser, "best").startswith(f"{best:.4f}")
        origin = browser.current_url.rstrip("/")
        links = {
            "/dashboard/studies/1": "Optuna Dashboard",
            "/report/": "hybridtune report",
            "/tensorboard/": "TensorBoard",
        }
        for link, title in links.items():
            browser.find_element(By.CSS_SELECTOR, f'a[href="{link}"]').click()
            WebDriverWait(browser, 30).until(lambda browser, title=title: browser.title == title)
            # What the page asks for comes after its title.
            time.sleep(2)
            assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
            browser.get(origin)
        assert {url for url in asked_for(browser) if not url.startswith((origin, "data:", "blob:"))} <= {"chrome://"}
    finally:
        command.process.send_signal(signal.SIGINT)
        assert command.process.wait(20) == 0
        command.kill()


def test_every_page_fits_a_phone(finished: Workplace, browser: webdriver.Chrome) -> None:
    command, address = start(finished, "run")
    phone = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    try:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        browser.get(address)
        origin = browser.current_url.rstrip("/")
        for path in ("/", "/ht/trial/0", "/report/"):
            browser.get(origin + path)
            time.sleep(2)
            assert browser.execute_script("return document.documentElement.scrollWidth") <= 400, path
        browser.get(f"{origin}/")
        # In one step: the page may replace the link between two.
        browser.execute_script("""document.querySelector('a[href^="/ht/trial/"]').click()""")
        WebDriverWait(browser, 10).until(lambda browser: browser.title.startswith("trial "))
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        command.process.send_signal(signal.SIGINT)
        assert command.process.wait(20) == 0
        command.kill()


def test_tensorboard_shows_every_trial_and_ends_with_the_dashboard(
    finished: Workplace, browser: webdriver.Chrome
) -> None:
    command, address = start(finished, "run")
    try:
        browser.get(address)
        origin = browser.current_url.rstrip("/")
        browser.get(f"{origin}/tensorboard/#hparams")
        trials = pd.read_parquet(finished.path / "run" / "trials.parquet")

        def shown(browser: webdriver.Chrome) -> str:
            # Its page is made of shadow roots.
            return str(browser.execute_script(ALL_TEXT))

        WebDriverWait(browser, 60).until(
            lambda browser: all(f"trial_{n:05d}" in shown(browser) for n in trials["trial"])
        )
        assert "learning_rate" in shown(browser)
        assert "final_objective" in shown(browser)
        process = [pid for pid, line in command.descendants().items() if "tensorboard_process" in line]
        assert process
        # Not even a kill leaves it behind.
        command.process.kill()
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in process):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        command.kill()


def test_a_search_that_is_killed_shows_as_stopped_and_one_that_goes_on_is_left_alone(
    finished: Workplace, browser: webdriver.Chrome
) -> None:
    search = finished.start("launch", "dataset", "--run", "watched", *SMALL_LAUNCH, "--trials", "40")
    try:
        wait_until(lambda: "trial 0 starts" in search.stdout, search)
        command, address = start(finished, "watched")
        browser.get(address)
        assert "searching" in text(browser, "run")
        wait_until(lambda: int(text(browser, "complete")) + int(text(browser, "pruned")) > 0, search)

        command.process.send_signal(signal.SIGINT)
        assert command.process.wait(20) == 0
        assert "the run goes on without it" in command.stdout
        assert search.process.poll() is None

        command, address = start(finished, "watched")
        browser.get(address)
        os.kill(search.process.pid, signal.SIGKILL)
        killed = time.monotonic()
        while "stopped while searching" not in text(browser, "run"):
            assert time.monotonic() < killed + STOPPED_SECONDS
            time.sleep(0.1)
        assert "hybridtune resume" in text(browser, "run")
        command.process.send_signal(signal.SIGINT)
        assert command.process.wait(20) == 0
        command.kill()
    finally:
        search.kill()
        shutil.rmtree(finished.path / "watched", ignore_errors=True)


def test_what_cannot_be_shown_is_one_line(finished: Workplace, tmp_path: Path) -> None:
    missing = finished.run("dashboard", str(tmp_path / "none"), "--no-browser")
    assert missing.process.returncode == 2
    assert "is not a run directory" in missing.stderr
    shutil.copytree(finished.path / "run", tmp_path / "damaged")
    (tmp_path / "damaged" / "study.db").write_bytes(b"damaged" * 1000)
    damaged = finished.run("dashboard", str(tmp_path / "damaged"), "--no-browser")
    assert damaged.process.returncode == 2
    assert "study.backup.db" in damaged.stderr
    assert damaged.stderr.count("\n") == 1
    command, address = start(finished, "run")
    try:
        port = address.split(":")[2].split("/")[0]
        used = finished.run("dashboard", "run", "--no-browser", "--port", port)
        assert used.process.returncode == 2
        assert used.stderr.startswith(f"hybridtune: port {port} cannot be used")
        assert used.stderr.count("\n") == 1
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/")
    finally:
        command.process.send_signal(signal.SIGINT)
        command.process.wait(20)
        command.kill()


def test_where_no_browser_can_be_opened_it_says_how_to_see_it(
    finished: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    command, address = start(finished, "run", "--port", "0")
    port = address.split(":")[2].split("/")[0]
    try:
        wait_until(lambda: f"ssh -L {port}:127.0.0.1:{port}" in command.stdout, command, 20)
        with_cookie = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        assert with_cookie.open(address).status == 200
    finally:
        command.kill()

    opener = tmp_path / "opener"
    opener.write_text(f"#!/bin/sh\necho $1 > {tmp_path}/opened\n")
    opener.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{opener} %s")
    command, address = start(finished, "run", "--port", "0")
    try:
        wait_until((tmp_path / "opened").exists, command, 20)
        wait_until(lambda: (tmp_path / "opened").read_text() == f"{address}\n", command, 20)
    finally:
        command.kill()

    monkeypatch.setenv("BROWSER", "/bin/false %s")
    command, address = start(finished, "run", "--port", "0")
    try:
        wait_until(lambda: "no browser was found" in command.stdout, command, 20)
    finally:
        command.kill()
