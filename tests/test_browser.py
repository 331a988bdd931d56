"""The browser of the tests sees what a person would see, and what a person would not."""

from __future__ import annotations

from pathlib import Path

from browser import Look, look

PAGE = """<!doctype html><title>t</title><style>:root { color-scheme: light dark }</style>
<p>here</p><img src="http://127.0.0.1:1/x.png"><script>console.error("wrong"); undefined.x</script>"""


def test_complaints_and_requests_of_a_page_are_told(tmp_path: Path) -> None:
    page, shot = tmp_path / "page.html", tmp_path / "page.png"
    page.write_text(PAGE, "utf-8")
    (tmp_path / "more.js").write_text("globalThis.more = innerWidth", "utf-8")
    dark = "matchMedia('(prefers-color-scheme: dark)').matches"
    scripts = (str(tmp_path / "more.js"),)
    light, other = look(
        Look(page.as_uri(), evaluate=dark),
        Look(page.as_uri(), 390, 844, True, scripts, f"[more, {dark}]", str(shot)),
    )
    assert {problem.partition(":")[0] for problem in light.problems} == {"error", "exception"}
    assert "error: wrong" in light.problems
    assert light.requests == [page.as_uri(), "http://127.0.0.1:1/x.png"]
    assert "<p>here</p>" in light.html
    assert light.value is False
    assert other.value == [390, True]
    assert shot.read_bytes().startswith(b"\x89PNG")
