#!/usr/bin/env bash
# s3fs 2026.9: after a folder of a bucket was listed, `cat_file` of an object that was put there since raises
# FileNotFoundError, though a GET of its key would give it. Before it reads, cat_file looks the size up, and takes the
# kept listing's word. Instances are shared inside a process, so the listing may be one that other code asked for.
# `invalidate_cache()` before the read cures it. So what waits for an object of another machine may wait for ever.
#
# Guess before the run: the object, as a read of a whole key needs nothing but the key, and S3 is consistent.
# Seen with: s3fs 2026.9.0, fsspec 2026.9.0, moto 5.2.5, Python 3.11.
# Source: a manifest that another process had written and that could not be read.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check s3fs==2026.9.0 'moto[server]==5.2.5'
cat > "$work/show.py" <<'PY'
import logging
import os

import boto3
import fsspec
import s3fs
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
os.environ |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
url = f"http://{host}:{port}"
other = boto3.client("s3", endpoint_url=url)  # as another machine would
other.create_bucket(Bucket="sounds")
other.put_object(Bucket="sounds", Key="vectors/part-0", Body=b"0")

store = s3fs.S3FileSystem(endpoint_url=url)
print("s3fs", s3fs.__version__, "fsspec", fsspec.__version__)
print("listed:", store.ls("sounds/vectors", detail=False))
other.put_object(Bucket="sounds", Key="vectors/manifest", Body=b"whole")
try:
    print("read after the listing:", store.cat_file("sounds/vectors/manifest"))
except FileNotFoundError as error:
    print("read after the listing: FileNotFoundError", error)
print("GET of the key:", other.get_object(Bucket="sounds", Key="vectors/manifest")["Body"].read())
store.invalidate_cache()
print("read after invalidate_cache:", store.cat_file("sounds/vectors/manifest"))
server.stop()
PY
cd "$work"
seen=$("$work/venv/bin/python" show.py 2>/dev/null)
printf '%s\n' "$seen"
grep -q '^read after the listing: FileNotFoundError' <<<"$seen"
grep -q "^GET of the key: b'whole'" <<<"$seen"
grep -q "^read after invalidate_cache: b'whole'" <<<"$seen"
