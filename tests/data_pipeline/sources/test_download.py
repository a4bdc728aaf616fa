"""Downloading MovieLens-100K, from a local test server."""

import hashlib
import io
import socket
import threading
import time
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from data_pipeline.sources.download import CONNECT_TIMEOUT_SECS, cache_folder, download_ml_100k
from support.reading import read_data

USER_DATA = "1\t2\t3\t4\n"


def archive_of(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


ARCHIVE = archive_of({"ml-100k/u.data": USER_DATA, "ml-100k/README": "free"})


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and no proxy for the local server."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache"


@contextmanager
def serving(content=ARCHIVE, *, status=200, missing_bytes=0, before_answer=lambda: None):
    """(URL of a server that returns the content, list of the requested paths)."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            before_answer()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content) + missing_bytes))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/ml-100k.zip", asked
        server.shutdown()


@contextmanager
def silent_server():
    """The port of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_download_unpacks_into_the_cache_once(cache):
    with serving() as (url, asked):
        folder = download_ml_100k(url, sha256(ARCHIVE))
        assert download_ml_100k(url, sha256(ARCHIVE)) == folder
        assert asked == ["/ml-100k.zip"]
    assert folder == cache_folder() == cache / "reeltrain" / "ml-100k"
    assert files_in(cache) == ["reeltrain/ml-100k/README", "reeltrain/ml-100k/u.data"]
    assert len(read_data(folder)[0]) == 1


def test_a_wrong_checksum_is_refused_and_both_checksums_are_shown(cache):
    with serving() as (url, _), pytest.raises(OSError, match="SHA-256 must be 00ff, got ") as caught:
        download_ml_100k(url, "00ff")
    assert sha256(ARCHIVE) in str(caught.value)
    assert not cache.exists()


def test_an_incomplete_download_is_refused(cache):
    with serving(missing_bytes=10) as (url, _), pytest.raises(OSError, match="IncompleteRead"):
        download_ml_100k(url, sha256(ARCHIVE))
    assert not cache.exists()


def test_an_address_without_the_file_is_refused(cache):
    with serving(status=404) as (url, _), pytest.raises(OSError, match="404"):
        download_ml_100k(url, sha256(ARCHIVE))
    assert not cache.exists()


def test_an_archive_without_the_folder_leaves_nothing_behind(cache):
    other = archive_of({"somewhere/u.data": USER_DATA})
    with serving(other) as (url, _), pytest.raises(OSError, match="No such file"):
        download_ml_100k(url, sha256(other))
    assert files_in(cache) == []
    assert list((cache / "reeltrain").iterdir()) == []


def test_of_two_concurrent_downloads_the_first_to_finish_is_kept(cache):
    def another_process_ends_first():
        cache_folder().mkdir(parents=True)
        (cache_folder() / "u.data").write_text(USER_DATA * 2)

    with serving(before_answer=another_process_ends_first) as (url, _):
        folder = download_ml_100k(url, sha256(ARCHIVE))
    assert files_in(cache) == ["reeltrain/ml-100k/u.data"]
    assert (folder / "u.data").read_text() == USER_DATA * 2


@pytest.mark.slow
def test_a_server_that_never_answers_times_out_after_5_seconds(cache):
    assert CONNECT_TIMEOUT_SECS == 5
    with silent_server() as port:
        began = time.monotonic()
        with pytest.raises(OSError, match=r"timed out|no answer within 5 s"):
            download_ml_100k(f"http://127.0.0.1:{port}/ml-100k.zip")
        assert 4 < time.monotonic() - began < 7
    assert not cache.exists()


@pytest.mark.slow
@pytest.mark.parametrize("says_nothing", [False, True])
def test_offline_the_command_uses_generated_ratings_and_reports_it(run_cli, tmp_path, says_nothing):
    with silent_server() as port:
        # https goes through the proxy: a closed port, or a server that never answers.
        proxy = f"http://127.0.0.1:{port if says_nothing else 1}"
        done = run_cli("prepare", "--out", tmp_path / "prepared", env={"https_proxy": proxy}, timeout=30)
    (line,) = [line for line in done.stderr.splitlines() if "MovieLens" in line]
    assert "cannot be downloaded" in line
    assert "generated ratings from a planted model" in line
    assert done.stdout.startswith("100,000 ratings, 943 users")
    assert "no model can reach a test RMSE much below" in done.stdout
