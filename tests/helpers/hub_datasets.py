"""A server on this machine that speaks as much of the Hugging Face hub's protocol as `hf://datasets/...` asks of it."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0" * 39 + "1"


@contextmanager
def serve_dataset(name: str, files: Mapping[str, bytes]) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """Serve the files of one data set; HF_ENDPOINT, and (path, bytes) of each content that was sent.

    Args:
        name: owner/name of the data set.
        files: by their paths in it.
    """
    sent: list[tuple[str, int]] = []

    def described(path: str) -> dict[str, Any]:
        content = files[path]
        kept = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 120}
        return {"type": "file", "path": path, "size": len(content), "oid": "a" * 40, "lfs": kept}

    def tree(folder: str, recursive: bool) -> list[dict[str, Any]]:
        inside = f"{folder}/" if folder else ""
        below = [path for path in files if path.startswith(inside)]
        folders = {path.rpartition("/")[0] for path in below} - {folder}
        depth = 99 if recursive else 0
        listed = [{"type": "directory", "path": path, "oid": "b" * 40} for path in sorted(folders)]
        listed += [described(path) for path in below]
        return [one for one in listed if one["path"].removeprefix(inside).count("/") <= depth]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for key, value in {"X-Repo-Commit": COMMIT, "Content-Length": str(len(body)), **headers}.items():
                self.send_header(key.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            if path in (f"/api/datasets/{name}", f"/api/datasets/{name}/revision/main"):
                self.answer(200, json.dumps({"id": name, "sha": COMMIT, "siblings": []}).encode())
            elif match := re.fullmatch(rf"/api/datasets/{name}/tree/[^/]+/?(.*)", path):
                if found := tree(match[1], "recursive=true" in self.path.lower()):
                    self.answer(200, json.dumps(found).encode(), Content_Type="application/json")
                else:
                    self.answer(404, b"{}", X_Error_Code="EntryNotFound")
            elif (match := re.fullmatch(rf"/datasets/{name}/resolve/[^/]+/(.*)", path)) and match[1] in files:
                content = files[match[1]]
                first, last = re.findall(r"\d+", self.headers["Range"])
                part = content[int(first) : int(last) + 1]
                sent.append((match[1], len(part)))
                self.answer(206, part, Content_Range=f"bytes {first}-{int(first) + len(part) - 1}/{len(content)}")
            else:
                self.answer(404, b"{}", X_Error_Code="RepoNotFound")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
