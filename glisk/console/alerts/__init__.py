"""What is wrong is told to people, by apprise; docs/alerts.md says how it looks from outside.

`evaluation` compares the troubles with the open alerts and writes the outbox, `delivery` sends what
stands there, `tasks` pings somebody who misses us. Rows decide everything: a crash between any
two lines repeats one message at most, namely one that was sent and not marked.
"""
