"""Ways to show a `Report`: in a terminal, as a page, for programs, for CI, for a README. Nothing is judged here."""

from nameplate_conformance.report.badge import badge as badge
from nameplate_conformance.report.badge import badge_picture as badge_picture
from nameplate_conformance.report.certificate import CertificateError as CertificateError
from nameplate_conformance.report.certificate import certificate as certificate
from nameplate_conformance.report.certificate import verify_certificate as verify_certificate
from nameplate_conformance.report.junit import junit as junit
from nameplate_conformance.report.markdown import markdown as markdown
from nameplate_conformance.report.page import Section as Section
from nameplate_conformance.report.page import render_page as render_page
from nameplate_conformance.report.summary import read_report as read_report
from nameplate_conformance.report.summary import summary as summary
from nameplate_conformance.report.terminal import print_report as print_report
from nameplate_conformance.report.writing import check_report_name as check_report_name
from nameplate_conformance.report.writing import write_report as write_report
