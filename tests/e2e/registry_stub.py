"""A registry in this process that misbehaves on request."""

import hashlib
import http.server
import json
import re
import threading
import time
import urllib.parse

PREFIX = "application/vnd.ollama.image."


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Registry(http.server.ThreadingHTTPServer):
    """`blobs` and `manifests` are what it serves; the other attributes change how. `log` has (path, headers) of each
    request, in order."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.port = self.server_address[1]
        self.blobs, self.manifests, self.log = {}, {}, []
        self.storage = None  # the address of another server for the files of repositories
        self.plain = {}  # name below /files/: bytes
        self.found = lambda query: []  # what a search gives
        self.files = {}  # "user/repo": {path: bytes}, in Hugging Face's shape
        self.page, self.pages, self.endless = 0, "", False  # files per page of a list, the server of the next one
        self.ranges, self.etags, self.token, self.realm, self.redirect = True, True, None, None, None
        self.etag = "one"
        self.rate = 0  # bytes per second and connection, 0: as fast as it goes
        self.cut = []  # bytes after which the next responses for blobs end
        self.fail = []  # statuses of the next responses for blobs
        self.sent = 0  # bytes of blobs
        self.active, self.overlap = 0, []  # blobs that are being sent, and how many were at the start of each
        self.uploads = {}  # id: bytearray
        self.got = 0  # bytes of uploads that arrived
        self.drop = []  # bytes after which the next chunks of uploads break off
        self.refuse = []  # statuses of the next chunks
        self.chunks = True  # it takes PATCH
        self.repositories = {}  # digest: names of the repositories that have it; None: all
        self.elsewhere = None  # the address of another server for uploads
        self.hook = lambda path: None
        self.count = threading.Lock()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        pass  # a client that was killed

    def add(self, name, model, others=(), config=b"{}"):
        """A model with more layers, given as (type, bytes)."""
        layers = []
        for kind, data in [("model", model), *others]:
            self.blobs[digest(data)] = data
            layers.append({"mediaType": PREFIX + kind, "digest": digest(data), "size": len(data)})
        self.blobs[digest(config)] = config
        self.manifests[name] = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": {
                    "mediaType": "application/vnd.docker.container.image.v1+json",
                    "digest": digest(config),
                    "size": len(config),
                },
                "layers": layers,
            }
        ).encode()

    def paths(self, part=""):
        return [path for path, _ in self.log if part in path]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", len(body))
        self.end_headers()
        self.wfile.write(body)

    def needs_token(self, scope="repository:x/y:pull"):
        server = self.server
        if not server.token or self.headers.get("Authorization") == f"Bearer {server.token}":
            return False
        realm = server.realm or f"http://{self.headers['Host']}/token"
        self.answer(401, b"{}", WWW_Authenticate=f'Bearer realm="{realm}",service="stub",scope="{scope}"')
        return True

    # ---- uploads ----

    def note(self):
        self.server.log.append((f"{self.command} {self.path}", dict(self.headers)))
        self.server.hook(self.path)

    def read_body(self, limit=None):
        left = int(self.headers.get("Content-Length", 0))
        data = b""
        while left and (limit is None or len(data) < limit):
            piece = self.rfile.read(min(left, 1 << 16))
            if not piece:
                break
            data, left = data + piece, left - len(piece)
        return data, left == 0

    def do_HEAD(self):
        self.note()
        found = re.fullmatch(r"/v2/([^/]+/[^/]+)/blobs/([^/]+)", self.path)
        if self.needs_token():
            return None
        has = found and found.group(2) in self.server.blobs and self.is_in(found.group(2), found.group(1))
        self.send_response(200 if has else 404)
        self.send_header("Content-Length", len(self.server.blobs[found.group(2)]) if has else 0)
        self.end_headers()

    def is_in(self, blob, repository):
        where = self.server.repositories.get(blob)
        return where is None or repository in where

    def do_POST(self):
        self.note()
        server = self.server
        self.read_body()
        if self.needs_token():
            return None
        url = urllib.parse.urlsplit(self.path)
        repository = url.path[len("/v2/") : -len("/blobs/uploads/")]
        query = dict(urllib.parse.parse_qsl(url.query))
        if query.get("mount") in server.blobs and self.is_in(query["mount"], query.get("from")):
            if server.repositories.get(query["mount"]) is not None:
                server.repositories[query["mount"]].append(repository)
            return self.answer(201, Location=f"/v2/{repository}/blobs/{query['mount']}")
        name = str(len(server.log))
        server.uploads[name] = bytearray()
        return self.answer(202, Location=f"{server.elsewhere or ''}/upload/{repository}/{name}?state=0", Range="0-0")

    def place(self):
        repository, name = urllib.parse.urlsplit(self.path).path[len("/upload/") :].rsplit("/", 1)
        return repository, name, self.server.uploads.get(name)

    def do_PATCH(self):
        self.note()
        server = self.server
        repository, name, data = self.place()
        body, whole = self.read_body(server.drop[0] if server.drop else None)
        if self.needs_token():
            return None
        if data is None:
            return self.answer(404, b'{"errors": [{"code": "BLOB_UPLOAD_UNKNOWN"}]}')
        if not server.chunks:
            return self.answer(405)
        if server.refuse:
            return self.answer(server.refuse.pop(0), b'{"errors": [{"code": "DENIED", "message": "not you"}]}')
        asked = re.fullmatch(r"(\d+)-(\d+)", self.headers["Content-Range"])
        if int(asked.group(1)) != len(data):
            return self.answer(416, Range=f"0-{max(len(data) - 1, 0)}", Location=self.path)
        data += body
        server.got += len(body)
        if server.drop:
            server.drop.pop(0)
            self.close_connection = True
            return None
        assert whole and len(body) == int(asked.group(2)) - int(asked.group(1)) + 1
        place = f"{server.elsewhere or ''}/upload/{repository}/{name}?state={len(data)}"
        return self.answer(202, Location=place, Range=f"0-{len(data) - 1}")

    def do_PUT(self):
        self.note()
        server = self.server
        body, _ = self.read_body()
        if self.needs_token():
            return None
        found = re.fullmatch(r"/v2/([^/]+/[^/]+)/manifests/([^/]+)", self.path)
        if found:
            root = json.loads(body)
            wanted = [layer["digest"] for layer in [*root["layers"], root["config"]]]
            if any(blob not in server.blobs or not self.is_in(blob, found.group(1)) for blob in wanted):
                return self.answer(400, b'{"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "no blob"}]}')
            server.manifests[f"{found.group(1)}:{found.group(2)}"] = body
            return self.answer(201, Location=self.path)
        repository, name, data = self.place()
        if data is None:
            return self.answer(404)
        data += body
        server.got += len(body)
        wanted = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))["digest"]
        del server.uploads[name]
        if digest(data) != wanted:
            return self.answer(400, b'{"errors": [{"code": "DIGEST_INVALID", "message": "another digest"}]}')
        server.blobs[wanted] = bytes(data)
        if server.repositories.get(wanted) is not None:
            server.repositories[wanted].append(repository)
        return self.answer(201, Location=f"/v2/{repository}/blobs/{wanted}")

    # ---- downloads ----

    def do_GET(self):
        server = self.server
        server.log.append((self.path, dict(self.headers)))
        server.hook(self.path)
        if self.path.startswith("/token"):
            return self.answer(200, json.dumps({"token": server.token or "none"}).encode())
        if self.path.startswith("/elsewhere/"):
            return self.send_blob(server.blobs[self.path.rsplit("/", 1)[1]])
        if self.needs_token():
            return None
        if self.path.startswith("/upload/"):
            _, _, data = self.place()
            if data is None:
                return self.answer(404)
            return self.answer(204, Location=self.path, Range=f"0-{max(len(data) - 1, 0)}")
        if self.path.startswith("/files/"):
            return self.send_blob(server.plain[urllib.parse.urlsplit(self.path).path[len("/files/") :]])
        if self.path.startswith("/api/models?"):
            query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
            return self.answer(200, json.dumps(server.found(query)).encode())
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/main\?recursive=true(?:&cursor=(\d+))?", self.path)
        if found and found.group(1) in server.files:
            return self.send_tree(found.group(1), int(found.group(2) or 0))
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/main/(.+)", self.path)
        if found and found.group(1) in server.files:
            data = server.files[found.group(1)][urllib.parse.unquote(found.group(2))]
            server.blobs[digest(data)] = data
            return self.answer(302, Location=f"{server.storage or ''}/elsewhere/{digest(data)}")
        found = re.fullmatch(r"/v2/([^/]+/[^/]+)/(manifests|blobs)/([^/]+)", self.path)
        if found and found.group(2) == "manifests" and f"{found.group(1)}:{found.group(3)}" in server.manifests:
            return self.answer(200, server.manifests[f"{found.group(1)}:{found.group(3)}"])
        if found and found.group(2) == "blobs" and found.group(3) in server.blobs:
            if server.redirect:
                return self.answer(307, Location=server.redirect + found.group(3))
            return self.send_blob(server.blobs[found.group(3)])
        return self.answer(404, b"{}")

    def send_tree(self, name, first):
        files, n = list(self.server.files[name].items()), self.server.page or 1000
        link = {}
        if first + n < len(files) or self.server.endless:
            path = f"/api/models/{name}/tree/main?recursive=true&cursor={first + n}"
            link = {"Link": f'<{self.server.pages}{path}>; rel="next"'}
        self.answer(200, self.tree(files[first : first + n]), **link)

    def tree(self, files):
        rows = [{"type": "directory", "oid": "0" * 40, "size": 0, "path": "folder"}]
        for path, data in files:
            rows.append({"type": "file", "oid": "1" * 40, "size": len(data), "path": path})
            if not path.endswith((".json", ".md", ".txt", ".jinja")):  # Git itself keeps small files
                rows[-1]["lfs"] = {"oid": digest(data)[7:], "size": len(data), "pointerSize": 134}
        return json.dumps(rows).encode()

    def send_blob(self, data):
        with self.server.count:
            self.server.overlap.append(self.server.active)
            self.server.active += 1
        try:
            self.send_bytes(data)
        finally:
            with self.server.count:
                self.server.active -= 1

    def send_bytes(self, data):
        server = self.server
        if server.fail:
            return self.answer(server.fail.pop(0), b"no")
        first, last, status = 0, len(data) - 1, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked and server.ranges and self.headers.get("If-Range") in (None, f'"{server.etag}"'):
            first, last, status = int(asked.group(1)), min(int(asked.group(2)), last), 206
        body = data[first : last + 1]
        self.send_response(status)
        self.send_header("Content-Length", len(body))
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        if server.etags:
            self.send_header("ETag", server.etag() if callable(server.etag) else f'"{server.etag}"')
        self.end_headers()
        cut = server.cut.pop(0) if server.cut else None
        step = 1 << 16 if server.rate else 1 << 20
        for at in range(0, len(body), step):
            piece = body[at : at + step]
            if cut is not None and at + len(piece) > cut:
                self.wfile.write(piece[: cut - at])
                self.wfile.flush()
                self.close_connection = True
                return
            self.wfile.write(piece)
            server.sent += len(piece)
            if server.rate:
                time.sleep(len(piece) / server.rate)
