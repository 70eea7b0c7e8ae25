"""A Prometheus on loopback that scrapes one target every 400 ms."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Self

from pgmoor.testing._ports import LOOPBACK, free_port

if TYPE_CHECKING:
    from types import TracebackType

PATIENCE = 20.0  # seconds for it to be ready
CONFIG = """
global: {{scrape_interval: 400ms, scrape_timeout: 400ms, evaluation_interval: 400ms}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: app
    static_configs: [{{targets: ["{target}"]}}]
"""


class Prometheus:
    """One process of Prometheus, as a context manager."""

    def __init__(self, program: str, target: str, rules: Path) -> None:
        self._program = program
        self._config = CONFIG.format(rules=rules, target=target)
        self._address = f"{LOOPBACK}:{free_port()}"

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="pgmoor-prometheus-"))
        config = self._home / "prometheus.yml"
        config.write_text(self._config, encoding="utf-8")
        self._log = (self._home / "log").open("wb")
        self._process = subprocess.Popen(
            [
                self._program,
                f"--config.file={config}",
                f"--storage.tsdb.path={self._home / 'data'}",
                f"--web.listen-address={self._address}",
                "--log.level=warn",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        deadline = monotonic() + PATIENCE
        while monotonic() < deadline and self._process.poll() is None:
            with suppress(OSError), self._get("/-/ready"):
                return self
            sleep(0.05)
        self.__exit__(None, None, None)
        raise AssertionError((self._home / "log").read_text(encoding="utf-8"))

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()
        shutil.rmtree(self._home)

    def _get(self, path: str) -> Any:
        return urllib.request.urlopen(f"http://{self._address}{path}", timeout=5)

    def get(self, what: str, **params: str) -> Any:
        """Return the data of an HTTP API response; raise if it is an error."""
        with self._get(f"/api/v1/{what}?{urllib.parse.urlencode(params)}") as answer:
            document = json.load(answer)
        assert document["status"] == "success", document
        return document["data"]

    def series(self, expression: str, start: float, end: float) -> list[Any]:
        """Return the series of an expression between two times."""
        span = {"start": str(start), "end": str(end), "step": "200ms"}
        found: list[Any] = self.get("query_range", query=expression, **span)["result"]
        return found

    def newest(self, expression: str) -> list[float]:
        """Return the present values of an expression."""
        result = self.get("query", query=expression)["result"]
        return [float(item["value"][1]) for item in result]
