"""What `wva COMMAND` does: one module per command, each with `run(options) -> exit code`.

The one place that may join the adapter and the simulator.
"""
