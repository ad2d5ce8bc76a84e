# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of BigFix settings: which hold the port, and whose values may be shown.

Source of the names: the vendor's settings reference, but for C(_BESClient_RelaySelect_Port), which only the document
of this project's user knows.  It is set as asked; the URLs are what agents really follow.
"""

RELAY_SELECT = "_BESClient_RelaySelect_Port"
LISTEN = "_BESRelay_HTTPServer_PortNumber"
UDP_MESSAGES = "_Enterprise Server_ClientRegister_UDPMessagePort"
WEB_REPORTS = "_WebReports_HTTPServer_PortNumber"
SELECTED_RELAYS = ("__RelayServer1", "__RelayServer2")

# Settings that hold the port as a plain number.
PORT_SETTINGS = (RELAY_SELECT, LISTEN, UDP_MESSAGES)

# Settings that name relays or servers, each with the port in its URL.
ADDRESS_SETTINGS = SELECTED_RELAYS + (
    "__Relay_Control_Server1", "__Relay_Control_Server2", "__Relay_Control_RootServer", "_BESClient_RelaySelect_FailoverRelay",
    "_BESClient_RelaySelect_FailoverRelayList", "_BESClient_RelaySelect_TertiaryRelayList", "_BESRelay_UploadManager_ParentURL")

# What settings of products beside the agents' begin with, which stay as they are.
BESIDE = (("_WebUIAppEnv_", "WebUI"), ("_WebReports_", "Web Reports"))

# In the file of the server's MasterOperatorCredentials.
REST_URL = "RESTURL"
# The port of a Windows root server, which its registry has beside it, and what its line is called where it is read as such a
# file: no file has that name, so that a Port in one is none of ours.
SERVER_PORT, SERVER_PORT_LINE = "Port", "Port (registry)"

# Values that are numbers or switches by the vendor's reference.
HARMLESS = (
    WEB_REPORTS, "__RelaySelect_Automatic", "_BESClient_RelaySelect_IntervalSeconds", "_BESClient_RelaySelect_MaximumTTLToPing",
    "_BESClient_RelaySelect_MinRetryIntervalSeconds", "_BESClient_RelaySelect_ResistFailureIntervalSeconds",
    "_BESClient_Comm_CommandPollEnable", "_BESClient_Comm_CommandPollIntervalSeconds", "_BESClient_Report_MinimumInterval",
    "_BESClient_Resource_SleepIdle", "_BESClient_Resource_WorkIdle", "_BESClient_Log_Days")

# Lower case, as names compare without regard to it.
SHOWN = frozenset(name.lower() for name in PORT_SETTINGS + ADDRESS_SETTINGS + HARMLESS + (REST_URL, SERVER_PORT_LINE))
