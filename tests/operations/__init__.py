"""What operators use, with the real programs: Prometheus, a browser, a terminal."""
