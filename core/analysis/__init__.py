"""Questions asked of networks and their scores: compared, looked into, measured."""
