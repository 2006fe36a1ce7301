"""The real events, ../shared/data/commits.csv, in DuckDB: read by its own CSV reader, in the order of arrival."""

import duckdb
import pytest
from conftest import REPOSITORY

PATH = REPOSITORY / "../shared/data/commits.csv"

# One row of the file is an event of three entities. `churn` is a positive number that has no exact binary form.
EVENTS = """
CREATE TABLE commits AS
    SELECT row_number() OVER () AS row, *, (added + deleted + 1) / (files + 6.1) AS churn
    FROM read_csv($path, header = true, types = {'author': 'VARCHAR', 'folder': 'VARCHAR', 'repo': 'VARCHAR'});
CREATE TABLE events AS
    SELECT row * 3 + kind AS seq, time_ms, files, added, deleted, churn, folder,
           CASE kind WHEN 0 THEN 'author:' || author WHEN 1 THEN 'path:' || folder ELSE 'repo:' || repo END AS entity
    FROM commits, range(3) AS kinds(kind);
"""


def database():
    """A database with the table `events`, ordered by `seq`."""
    if not PATH.is_file():
        pytest.skip(f"../shared/data/{PATH.name} is not there: the tests over real events did not run")
    connection = duckdb.connect()
    connection.execute("SET threads = 1")  # keeps the order of the file
    create, unfold = EVENTS.split(";")[:2]
    connection.execute(create, {"path": str(PATH)})
    connection.execute(unfold)
    return connection
