"""The routes of data sets: made by a job from an uploaded file, looked at in every way, exported, and seen by their project only."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from llmos.data.catalogue import entry
from llmos.server import dataset_answers
from tests.data.made import HOSTILE, PROCESS, lines
from tests.server.browser import browser
from tests.server.live import Live
from tests.server.locked import Locked, bearer, locked

BASE = "/api/v1/datasets"


def check(name: str, value: Any) -> Any:
    """A real answer fits what the document says of it."""
    Draft202012Validator(getattr(dataset_answers, name).model_json_schema()).validate(value)
    return value


def ok(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def upload(client: httpx.Client, headers: dict[str, str] | None = None) -> str:
    text = ("\n".join(lines()) + "\n").encode()
    form: dict[str, Any] = {"data": {"purpose": "user_data"}, "files": {"file": ("in.jsonl", text)}}
    return str(ok(client.post("/v1/files", headers=headers, **form))["id"])


def run(client: httpx.Client, name: str, headers: dict[str, str] | None = None, **recipe: Any) -> dict[str, Any]:
    sources = [{"file": upload(client, headers)}]
    whole = {"name": name, "sources": sources, "process": PROCESS} | recipe
    job = ok(client.post("/api/v1/jobs", json={"kind": "data", "params": {"recipe": whole}}, headers=headers))
    end = time.monotonic() + 120
    while job["state"] in ("queued", "running"):
        assert time.monotonic() < end
        time.sleep(0.05)
        job = ok(client.get(f"/api/v1/jobs/{job['id']}", headers=headers))
    assert job["state"] == "succeeded", job
    return dict(job["result"])


@pytest.fixture(scope="module")
def ref(served: Live) -> str:
    return str(run(served.client, "mails")["dataset"])


def test_a_version_and_its_rows(client: httpx.Client, ref: str) -> None:
    listed = check("DatasetListAnswer", ok(client.get(BASE, params={"name": "mails"})))["datasets"]
    assert [(one["dataset"], one["rows"], one["errors"]) for one in listed] == [(ref, 22, 1)]
    shown = check("DatasetDetailAnswer", ok(client.get(f"{BASE}/{ref}")))
    assert shown["columns"]["text"] == "String" and shown["sources"][0]["ref"] == "in.jsonl"
    page = check("DatasetRowsAnswer", ok(client.get(f"{BASE}/mails/rows", params={"offset": 1, "limit": 2})))
    assert ([row["n"] for row in page["rows"]], page["total"]) == ([2, 3], 22)
    some = ok(client.get(f"{BASE}/mails/rows", params={"where": "n > 19 and contains(text, '.')"}))
    assert ([row["n"] for row in some["rows"]], some["total"]) == ([20, 21], 2)
    whole = [json.loads(line) for line in client.get(f"{BASE}/{ref}/rows.jsonl", params={"ids": "false"}).text.splitlines()]
    assert len(whole) == 22 and whole[-1] == {"text": HOSTILE, "n": 26}
    check("DatasetAnswer", ok(client.post(f"{BASE}/{ref}/verify", json={})))


def test_what_happened(client: httpx.Client, ref: str) -> None:
    told = check("LedgerAnswer", ok(client.get(f"{BASE}/{ref}/ledger", params={"action": "dropped", "step": "text_length"})))
    assert (told["total"], told["lines"][0]["row"]["n"]) == (2, 22)
    assert ok(client.get(f"{BASE}/{ref}/ledger", params={"id": "in.jsonl#25"}))["lines"][0]["action"] == "error"
    report = check("DatasetReportAnswer", ok(client.get(f"{BASE}/{ref}/report")))
    assert report["rows"] == 22 and report["steps"][1]["signals"]
    found = check("DatasetStatisticsAnswer", ok(client.get(f"{BASE}/{ref}/statistics")))
    assert found["rows"] == 22 and "chars" in found["columns"][0]
    story = check("WhyAnswer", ok(client.get("/api/v1/data-why", params={"row": "in.jsonl#21"})))
    assert story["outcome"] == "changed" and story["replay"]["steps"][0]["changed"]["text"]["after"].endswith("number 21.")
    edges = check("LineageAnswer", ok(client.get(f"{BASE}/{ref}/lineage")))
    assert {one["relation"] for one in edges["ancestors"]} == {"source", "recipe"}
    other = run(client, "others", process=["lowercase"])["dataset"]
    unlike = check("DatasetDiffAnswer", ok(client.get(f"{BASE}/{ref}/diff", params={"with": other})))
    assert (
        unlike["only_b"]["rows"] == 3 and unlike["changed"]["columns"]["text"]["rows"] == 21
    )  # the hostile one is lower case already
    steps = check("StepListAnswer", ok(client.get("/api/v1/data-steps")))["steps"]
    assert len(steps) > 60 and all(one["about"] for one in steps)


def test_the_page_runs_its_own_script_only(served: Live, ref: str, tmp_path: Path) -> None:
    answer = served.client.get(f"{BASE}/{ref}/report.html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "sandbox allow-scripts" in policy and "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff" and HOSTILE not in answer.text
    with browser(tmp_path) as tab:
        tab.open(f"{served.url}{BASE}/{ref}/report.html")
        tab.until("document.querySelector('h1').textContent.startsWith('mails@')")
        assert tab.js("self.origin") == "null" and tab.dialogs == []
        assert tab.js(f"fetch('{BASE}').then(() => 'reached', () => 'refused')") == "refused"
        ours = [one for one in tab.requests if one.startswith("http")]
        assert ours[0].endswith("report.html") and [one for one in ours[1:] if not one.endswith(("favicon.ico", BASE))] == []


def test_export_is_a_file(client: httpx.Client, ref: str) -> None:
    made = check("ExportAnswer", ok(client.post(f"{BASE}/{ref}/export", json={"filename": "out.csv"})))
    text = client.get(f"/v1/files/{made['file_id']}/content").text
    assert made["rows"] == 22 and text.splitlines()[0] == "text,n" and len(text.splitlines()) >= 23
    assert client.post(f"{BASE}/{ref}/export", json={"filename": "../../etc/x"}).status_code == 400
    for name in (".", "..", "a/.."):
        refused = client.post(f"{BASE}/{ref}/export", json={"filename": name, "format": "jsonl"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "filename")
    assert client.post(f"{BASE}/{ref}/export", json={"filename": "x", "format": "huggingface"}).status_code == 400


def test_a_dry_run(client: httpx.Client) -> None:
    recipe = {"sources": [{"file": upload(client)}], "process": PROCESS}
    told = check("PreviewAnswer", ok(client.post("/api/v1/recipes/check", json={"recipe": recipe})))
    assert told["sources"][0]["ref"] == "in.jsonl" and [one["step"] for one in told["steps"]][-1] == "2:exact_dedup"
    for bad, field in (
        ({"sources": [{"path": "/etc"}]}, "sources.0.path"),
        ({"sources": [{"file": "file-none"}]}, "file_id"),
        ({"sources": [{"dataset": "none"}]}, "dataset"),
        ({"sources": [{"rows": [{"text": "a"}]}], "process": [{"text_length": {"x": 1}}]}, "process.0.text_length.x"),
        ({"sources": [{"rows": [{"text": "a"}]}], "read": {"batch_bytes": 1 << 40}}, "read.batch_bytes"),
    ):
        answer = client.post("/api/v1/recipes/check", json={"recipe": bad})
        assert answer.status_code in (400, 404), answer.text
        assert answer.json()["error"]["param"].endswith(field)


def test_a_check_downloads_nothing(client: httpx.Client, served: Live) -> None:
    """Data that is fetched once is used when it is there; a request never waits for it, nor for a URL."""
    public = {"path": "get:gsm8k-mini"}
    for source, process, field in (
        (public, [], "sources.0.path"),
        ({"url": "https://example.org/a.jsonl"}, [], "sources.0.url"),
        ({"rows": [{"text": "a"}]}, [{"decontaminate": {"against": [public]}}], "process.0.decontaminate.path"),
    ):
        answer = client.post("/api/v1/recipes/check", json={"recipe": {"sources": [source], "process": process}})
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, f"recipe.{field}") and "downloads nothing" in error["message"]
    folder = entry("gsm8k-mini").place(served.state.settings)
    assert not folder.parent.exists() and not (served.state.settings.home / "datasets" / ".remote").exists()
    folder.mkdir(parents=True)
    (folder / "gsm8k.jsonl").write_text('{"text": "One and one?"}\n')
    told = ok(client.post("/api/v1/recipes/check", json={"recipe": {"sources": [public]}}))
    assert told["sources"][0]["ref"] == "gsm8k.jsonl"


def test_a_stranger_gets_no_disk_by_a_job(client: httpx.Client) -> None:
    recipe = {"sources": [{"path": "/etc/passwd"}]}
    answer = client.post("/api/v1/jobs", json={"kind": "data", "params": {"recipe": recipe}})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "params.recipe.sources.0.path"


@pytest.mark.parametrize(
    "path",
    [f"{BASE}/none", f"{BASE}/none/rows", f"{BASE}/a@zz", f"{BASE}/..%2f..", "/api/v1/data-why?row=x", "/api/v1/data-steps?name=x"],
)
def test_what_is_not_there(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (400, 404) and answer.json()["error"]["message"]


def test_removing(client: httpx.Client) -> None:
    first = run(client, "base", process=["lowercase"])["dataset"]
    later = run(client, "derived", sources=[{"dataset": first}], process=[])["dataset"]
    assert client.delete(f"{BASE}/{first}").status_code == 409
    check("DatasetAnswer", ok(client.delete(f"{BASE}/{later}")))
    ok(client.delete(f"{BASE}/{first}"))
    assert client.get(f"{BASE}/{first}").status_code == 404


# -- projects ------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    with locked(tmp_path_factory.mktemp("locked")) as found:
        yield found


def test_a_project_sees_its_own_only(shared: Locked) -> None:
    client = shared.client
    ours, theirs = (bearer(shared.key(name, scopes=("jobs",), project=name)) for name in ("ours", "theirs"))
    ref = run(client, "secret", ours)["dataset"]
    assert [one["dataset"] for one in ok(client.get(BASE, headers=ours))["datasets"]] == [ref]
    assert ok(client.get(BASE, headers=theirs))["datasets"] == []
    paths = ["", "/rows", "/rows.jsonl", "/ledger", "/report", "/report.html", "/lineage", f"/diff?with={ref}"]
    for method, path in [*(("GET", one) for one in paths), ("DELETE", ""), ("POST", "/verify"), ("POST", "/export")]:
        body = {"filename": "x.jsonl"} if path == "/export" else {}
        answer = client.request(method, f"{BASE}/{ref}{path}", headers=theirs, json=None if method == "GET" else body)
        assert answer.status_code == 404, (method, path, answer.text)
    assert client.get("/api/v1/data-why?row=in.jsonl%2322", headers=theirs).status_code == 404
    file_id = upload(client, ours)
    for source in ({"dataset": ref}, {"file": file_id}):
        check = client.post("/api/v1/recipes/check", json={"recipe": {"sources": [source]}}, headers=theirs)
        assert check.status_code == 404, check.text
    same = run(client, "secret", theirs)["dataset"]
    assert [one["project"] for one in ok(client.get(BASE, headers=theirs))["datasets"]] == ["theirs"]
    ok(client.delete(f"{BASE}/{same}", headers=theirs))
    assert ok(client.get(f"{BASE}/{ref}/rows", headers=ours))["total"] == 22
    rows = [{"rows": [{"text": "the same in both"}]}]  # and so the same version: whose job was first is not told
    assert len({run(client, "common", headers, sources=rows, process=[])["dataset"] for headers in (ours, theirs)}) == 1
    assert ok(client.get(f"{BASE}/common", headers=ours))["job_id"].startswith("job_")
    assert ok(client.get(f"{BASE}/common", headers=theirs))["job_id"] == ""
    weak = bearer(shared.key("weak", scopes=("annotate",), project="ours"))
    assert client.get(BASE, headers=weak).status_code == 403
