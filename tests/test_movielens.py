"""MovieLens-100K: its folder read as pandas reads it, and its download from a server of our own."""

import hashlib
import io
import socket
import threading
import time
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest

from conftest import ACCENTED_TITLE
from data_pipeline.errors import UserError
from data_pipeline.movielens import CONNECT_TIMEOUT_SECS, cache_folder, download_ml_100k, read_ml_100k_folder

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
    """An empty cache, and no proxy between us and our server."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache"


@contextmanager
def serving(content=ARCHIVE, *, status=200, missing_bytes=0, before_answer=lambda: None):
    """The URL of a server that answers with the content, and the list of paths that were asked for."""
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
    """The port of a server that takes connections and never says a word."""
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
    assert len(read_ml_100k_folder(folder)) == 1


def test_another_checksum_is_refused_with_both_named(cache):
    with serving() as (url, _), pytest.raises(OSError, match="SHA-256 must be 00ff, got ") as caught:
        download_ml_100k(url, "00ff")
    assert sha256(ARCHIVE) in str(caught.value)
    assert not cache.exists()


def test_a_download_that_breaks_off_is_refused(cache):
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


def test_of_two_downloads_at_once_the_first_to_end_stays(cache):
    def another_process_ends_first():
        cache_folder().mkdir(parents=True)
        (cache_folder() / "u.data").write_text(USER_DATA * 2)

    with serving(before_answer=another_process_ends_first) as (url, _):
        folder = download_ml_100k(url, sha256(ARCHIVE))
    assert files_in(cache) == ["reeltrain/ml-100k/u.data"]
    assert (folder / "u.data").read_text() == USER_DATA * 2


def test_a_server_that_never_answers_is_given_up_after_5_seconds(cache):
    assert CONNECT_TIMEOUT_SECS == 5
    with silent_server() as port:
        began = time.monotonic()
        with pytest.raises(OSError, match=r"timed out|no answer within 5 s"):
            download_ml_100k(f"http://127.0.0.1:{port}/ml-100k.zip")
        assert 4 < time.monotonic() - began < 7
    assert not cache.exists()


@pytest.mark.parametrize("says_nothing", [False, True])
def test_offline_the_command_takes_generated_ratings_and_says_so(run_cli, tmp_path, says_nothing):
    with silent_server() as port:
        # https goes through the proxy: one where nobody listens, or one that never answers.
        proxy = f"http://127.0.0.1:{port if says_nothing else 1}"
        done = run_cli("prepare", "--out", tmp_path / "prepared", env={"https_proxy": proxy}, timeout=30)
    (line,) = [line for line in done.stderr.splitlines() if "MovieLens" in line]
    assert "cannot be downloaded" in line
    assert "using generated ratings" in line
    assert done.stdout.startswith("100,000 ratings, 943 users")
    assert "no model can reach a test RMSE much below" in done.stdout


def test_titles_and_people_of_ml_100k_are_those_that_pandas_reads(ml_100k):
    ratings = read_ml_100k_folder(ml_100k)
    items = pd.read_csv(ml_100k / "u.item", sep="|", encoding="latin-1", header=None, keep_default_na=False)
    assert len(items) == 1682
    assert ratings.items["item_id"].to_pylist() == items[0].tolist()
    assert ratings.items["title"].to_pylist() == items[1].tolist()
    assert ratings.items["release_date"].to_pylist() == items[2].tolist()
    genres = pd.read_csv(ml_100k / "u.genre", sep="|", header=None)[0].tolist()
    flags = items[list(range(5, 24))].to_numpy()
    expected = ["|".join(g for g, flag in zip(genres, row, strict=True) if flag) for row in flags]
    assert ratings.items["genres"].to_pylist() == expected
    users = pd.read_csv(ml_100k / "u.user", sep="|", header=None)
    assert ratings.users.num_rows == len(users) == 943
    for position, name in enumerate(["user_id", "age", "gender", "occupation", "zip_code"]):
        assert ratings.users[name].to_pylist() == users[position].tolist()


def test_accented_titles_are_read_as_latin_1(tiny_ratings):
    ratings = read_ml_100k_folder(tiny_ratings)
    assert ratings.items["title"][0].as_py() == ACCENTED_TITLE
    assert set(ratings.items["genres"].to_pylist()) == {"Western"}


def test_a_title_may_hold_a_next_line_character(tiny_ratings):
    items = (tiny_ratings / "u.item").read_bytes()
    (tiny_ratings / "u.item").write_bytes(items.replace(b"Film 2 ", b"Film\x85 2 "))
    assert read_ml_100k_folder(tiny_ratings).items["title"][1].as_py() == "Film\x85 2 (1990)"


@pytest.mark.parametrize("name", ["u.item", "u.user"])
def test_the_side_tables_may_be_missing(tiny_ratings, name):
    whole = read_ml_100k_folder(tiny_ratings)
    (tiny_ratings / name).unlink()
    ratings = read_ml_100k_folder(tiny_ratings)
    assert (ratings.items is None) == (name == "u.item")
    assert (ratings.users is None) == (name == "u.user")
    assert ratings.table.equals(whole.table)
    assert ratings.fingerprint != whole.fingerprint


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("u.item", "41|short", "u.item:41: a row has 24 fields with | between, got 2: '41|short'"),
        ("u.item", "x" + "|" * 23, "u.item:41: item id must be a whole number below 10^9, got 'x'"),
        ("u.item", str(2**63) + "|" * 23, "u.item:41: item id must be a whole number below 10^9, got '922"),
        ("u.user", "31|old|F|writer|1", "u.user:31: age must be a whole number below 10^9, got 'old'"),
        ("u.user", "|3|F|writer|1", "u.user:31: user id must be a whole number below 10^9, got ''"),
    ],
)
def test_a_bad_row_of_a_side_table_is_named(tiny_ratings, name, line, expected):
    with (tiny_ratings / name).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError) as caught:
        read_ml_100k_folder(tiny_ratings)
    assert str(caught.value).startswith(f"{tiny_ratings}/{expected}")
