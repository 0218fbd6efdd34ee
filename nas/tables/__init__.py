"""Tables of one's own: of what campaigns measured, and of files of measurements."""

from nas.tables.campaigns import tabulate
from nas.tables.files import FORMATS, read_file

__all__ = ["FORMATS", "read_file", "tabulate"]
