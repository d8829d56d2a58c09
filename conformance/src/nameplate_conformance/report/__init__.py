"""Ways to show a `Report`: a table in a terminal, one page of HTML. Nothing is judged here."""

from nameplate_conformance.report.page import Section as Section
from nameplate_conformance.report.page import render_page as render_page
from nameplate_conformance.report.terminal import print_report as print_report
