"""What a data set holds, before an hour is spent on it: `look_at`, the `Overview` it gives, and a contact sheet."""

from anybudget.data.overview.contents import Contents
from anybudget.data.overview.looking import look_at
from anybudget.data.overview.sheet import write_sheet
from anybudget.data.overview.summary import Overview, overview_of

__all__ = ["Contents", "Overview", "look_at", "overview_of", "write_sheet"]
