"""The explorer: one static page that computes c and the law of a network in the browser."""

from isometry.web.page import explorer_page as explorer_page
from isometry.web.page import write_explorer as write_explorer
from isometry.web.server import ExplorerServer as ExplorerServer
