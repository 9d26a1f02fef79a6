"""A small server on this machine that speaks the Hugging Face hub's protocol, and can go wrong on purpose."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

SMALL = (".json", ".md")
"""Files that the hub keeps in git itself; the others are LFS, named by their sha256 and sent from elsewhere."""


def git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def lfs_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    method: str
    path: str
    span: str | None
    token: str | None


@dataclass
class Hub:
    """What the hub holds and how it behaves; tests change it as they go.

    Attributes:
        url: HF_ENDPOINT.
        commits: files of each commit of each repository.
        branches: commit of each branch of each repository.
        asked: every request so far.
        status: what everything answers, when not 0.
        gated: repositories whose files need the token.
        private: repositories of which nobody without the token learns anything.
        breaks: the content's bytes after which the connection breaks, for the next transfers one by one.
        sends: what is sent in place of a content, by its hash.
        gate: transfers of contents wait for it.
        reached: set once a transfer waits.
        lfs: large files are uploaded by git-lfs, as hubs want them; else they come in the commit itself.
        stored: contents that were uploaded so, by their hash.
        verified: hashes of those that the client has had checked.
        upload_status: what an upload of a content is answered, when not 0.
    """

    url: str = ""
    commits: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    branches: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    status: int = 0
    gated: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    breaks: list[int] = field(default_factory=list)
    sends: dict[str, bytes] = field(default_factory=dict)
    gate: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)
    lfs: bool = False
    stored: dict[str, bytes] = field(default_factory=dict)
    verified: set[str] = field(default_factory=set)
    upload_status: int = 0

    TOKEN = "hf_secret"

    def commit(self, repo: str, files: dict[str, bytes], commit: str | None = None, branch: str = "main") -> str:
        """Add a commit to a branch; its hash."""
        commits = self.commits.setdefault(repo, {})
        commit = commit or hashlib.sha1(f"{repo} {len(commits)}".encode()).hexdigest()
        commits[commit] = files
        self.branches.setdefault(repo, {})[branch] = commit
        return commit

    def contents(self) -> list[Asked]:
        """The requests that transferred a large file's content."""
        return [asked for asked in self.asked if asked.path.startswith("/cdn/")]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        """Take a large file's content at the address that `_lfs` gave, which is a secret: no token comes along."""
        digest, content = self.path.removeprefix("/lfs/"), self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.asked.append(Asked("PUT", self.path, None, self.headers.get("Authorization")))
        if self.hub.upload_status or lfs_hash(content) != digest:
            return self._fail(self.hub.upload_status or 400)
        self.hub.stored[digest] = content
        self._send(200, {}, b"")

    def _lfs(self, path: str, wanted: dict) -> None:  # type: ignore[type-arg]
        """Where contents go that are not here yet, or whether one is here."""
        if path.endswith("/verify"):
            known = len(self.hub.stored.get(wanted["oid"], b"")) == wanted["size"]
            self.hub.verified |= {wanted["oid"]} if known else set()
            return self._send_json({}) if known else self._fail(404)
        objects = []
        for each in wanted["objects"]:
            found = {"oid": each["oid"], "size": each["size"]}
            if each["oid"] not in self.hub.stored:
                address = f"{self.hub.url}/lfs/{each['oid']}"
                found["actions"] = {"upload": {"href": address}, "verify": {"href": f"{address}/verify"}}
            objects.append(found)
        self._send_json({"transfer": "basic", "objects": objects})

    def do_POST(self) -> None:
        """Make a repository, or take a commit whose files are in the request itself or have been uploaded."""
        path = unquote(urlsplit(self.path).path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.asked.append(Asked(self.command, path, None, token))
        if self.hub.status or token != Hub.TOKEN:
            return self._fail(self.hub.status or 401)
        if path == "/api/repos/create":
            wanted = json.loads(body)
            repo = "/".join(filter(None, (wanted.get("organization"), wanted["name"])))
            repo = repo if "/" in repo else f"me/{repo}"
            self.hub.commits.setdefault(repo, {})
            if wanted.get("private") or wanted.get("visibility") == "private":
                self.hub.private.add(repo)
            return self._send_json({"url": f"{self.hub.url}/{repo}", "name": repo})
        if path == "/api/validate-yaml":  # of a README's front matter
            return self._send_json({"errors": [], "warnings": []})
        if "/lfs/" in path:
            return self._lfs(path, json.loads(body))
        repo = "/".join(path.removeprefix("/api/models/").split("/")[:2])
        if "/preupload/" in path:
            names = [file["path"] for file in json.loads(body)["files"]]
            large = [self.hub.lfs and not name.endswith(SMALL) for name in names]
            modes = ["lfs" if one else "regular" for one in large]
            kinds = {"shouldIgnore": False, "oid": None}
            found = [{"path": name, "uploadMode": mode, **kinds} for name, mode in zip(names, modes, strict=True)]
            return self._send_json({"files": found})
        lines = [json.loads(line) for line in body.splitlines() if line]
        values = [line["value"] for line in lines if line["key"] == "file"]
        files = {value["path"]: base64.b64decode(value["content"]) for value in values}
        uploaded = [line["value"] for line in lines if line["key"] == "lfsFile"]
        if not {value["oid"] for value in uploaded} <= self.hub.verified:
            return self._fail(400)
        files |= {value["path"]: self.hub.stored[value["oid"]] for value in uploaded}
        commit = self.hub.commit(repo, files)
        address = f"{self.hub.url}/{repo}/commit/{commit}"
        return self._send_json({"success": True, "commitOid": commit, "commitUrl": address})

    def _send_json(self, value: object) -> None:
        self._send(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.hub.asked.append(Asked(self.command, path, self.headers.get("Range"), token))
        if self.hub.status:
            return self._fail(self.hub.status)
        if path.startswith("/cdn/"):
            return self._content(path.removeprefix("/cdn/"))
        api = path.startswith("/api/models/")
        parts = path.removeprefix("/api/models/").strip("/").split("/")
        repo = "/".join(parts[:2])
        if repo not in self.hub.commits or (repo in self.hub.private and token != Hub.TOKEN):
            return self._fail(401 if token is None else 404, "RepoNotFound")
        revision = parts[3] if len(parts) > 3 else "main"
        commit = self.hub.branches[repo].get(revision, revision)
        if commit not in self.hub.commits[repo]:
            return self._fail(404, "RevisionNotFound")
        files = self.hub.commits[repo][commit]
        if api:
            return self._listing(repo, commit, files)
        name = "/".join(parts[4:])
        if repo in self.hub.gated and token != Hub.TOKEN:
            return self._fail(403 if token else 401, "GatedRepo")
        if name not in files:
            return self._fail(404, "EntryNotFound", {"X-Repo-Commit": commit})
        self._file(name, commit, files[name])

    def _listing(self, repo: str, commit: str, files: dict[str, bytes]) -> None:
        siblings = []
        for name, content in files.items():
            entry: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": git_hash(content)}
            if not name.endswith(SMALL):
                entry["lfs"] = {"sha256": lfs_hash(content), "size": len(content), "pointerSize": 130}
            siblings.append(entry)
        body = json.dumps({"_id": "1", "id": repo, "modelId": repo, "sha": commit, "siblings": siblings, "tags": []})
        self._send(200, {"Content-Type": "application/json"}, body.encode())

    def _file(self, name: str, commit: str, content: bytes) -> None:
        headers = {"X-Repo-Commit": commit}
        if name.endswith(SMALL):
            self._send(200, headers | {"ETag": f'"{git_hash(content)}"'}, content)
            return
        digest = lfs_hash(content)
        elsewhere = self.hub.url.replace("127.0.0.1", "localhost")  # another host, as a CDN is
        headers |= {"Location": f"{elsewhere}/cdn/{digest}", "X-Linked-Etag": f'"{digest}"'}
        self._send(302, headers | {"X-Linked-Size": str(len(content))}, b"")

    def _content(self, digest: str) -> None:
        self.hub.reached.set()
        self.hub.gate.wait()
        every = (c for commits in self.hub.commits.values() for files in commits.values() for c in files.values())
        whole = self.hub.sends.get(digest) or next(c for c in every if lfs_hash(c) == digest)
        span = self.headers.get("Range")
        start = int(span.removeprefix("bytes=").split("-")[0]) if span else 0
        headers = {"Content-Range": f"bytes {start}-{len(whole) - 1}/{len(whole)}"} if span else {}
        stop = self.hub.breaks.pop(0) if self.hub.breaks else None
        self._send(206 if span else 200, headers, whole[start:], None if stop is None else stop - start)

    def _fail(self, status: int, code: str = "", headers: dict[str, str] | None = None) -> None:
        self._send(status, (headers or {}) | ({"X-Error-Code": code} if code else {}), b"")

    def _send(self, status: int, headers: dict[str, str], body: bytes, stop: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        if stop is not None:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:stop])


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub on a free port of this machine."""
    hub = Hub()
    hub.gate.set()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


def point_at(monkeypatch: pytest.MonkeyPatch, url: str, cache: str, offline: bool = False) -> None:
    """Let this process's huggingface_hub, which has read its environment already, ask another hub."""
    from urllib.parse import urlsplit as split

    from huggingface_hub import constants, file_download
    from huggingface_hub.utils import _http

    monkeypatch.setattr(constants, "ENDPOINT", url)
    for module in (constants, file_download):  # the second has its own copy before huggingface_hub 1.0
        if hasattr(module, "HUGGINGFACE_CO_URL_TEMPLATE"):
            template = url + "/{repo_id}/resolve/{revision}/{filename}"
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_URL_HOSTS", frozenset({split(url).hostname}), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", cache)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    getattr(_http, "reset_sessions", lambda: None)()  # before 1.0 a session keeps whether it is offline
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", f"{cache}/token")
    monkeypatch.delenv("HF_TOKEN", raising=False)
