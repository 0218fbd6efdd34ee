"""What a campaign remembers: the event log, the table of trials, and the folder that holds them.

`nas.store.parquet` is imported where tables are needed; this package loads no pyarrow.
"""

from nas.store.journal import Journal, read
from nas.store.records import Amended, Concluded, Confirmed, Opened, Record
from nas.store.run_dir import RunDir, versions

__all__ = ["Amended", "Concluded", "Confirmed", "Journal", "Opened", "Record", "RunDir", "read", "versions"]
