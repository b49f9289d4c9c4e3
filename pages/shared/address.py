"""By which name other machines reach this server, if they do."""

import ipaddress
import socket

import streamlit as st

CLOSED = (
    "The server listens on this machine only, so nobody else can open the link. It is opened to others by starting it "
    "with --server.address=0.0.0.0; see docs/deployment.md."
)


def reachable_host() -> str | None:
    """The name or number that colleagues use in place of "localhost"; None if the server listens on this machine only,
    or nobody can know."""
    address = st.get_option("server.address") or "0.0.0.0"
    if _is_loopback(address):
        return None
    # What somebody has set is right; its default is "localhost".
    named = st.get_option("browser.serverAddress")
    if named and not _is_loopback(named):
        return named
    if address not in ("0.0.0.0", "::"):
        return address
    return _own_address()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.startswith("unix://")


def _own_address() -> str | None:
    """The address of the network card that leads to other machines; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        host = probe.getsockname()[0]
    return None if _is_loopback(host) else host
