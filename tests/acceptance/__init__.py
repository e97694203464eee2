"""The whole, end to end: real SDKs, a host app on a real server, a fake provider on loopback."""
