"""Files of every kind that a command reads, damaged by the thousand, each given to the command in a
process of its own: `make fuzz` (ten minutes), and two minutes of it among the slow tests.

- trials: Outcome, run_trial
- damage: any_bytes, any_node, any_values
- kinds: KINDS, Kind, make_base
- campaign: campaign, table
"""
