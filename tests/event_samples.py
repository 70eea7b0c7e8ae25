"""An event of every kind and shape, with the sentence that it says of itself."""

from __future__ import annotations

from pgmoor import events as ev

A, B = "db1:5432", "db2:5432"

SENTENCES: dict[ev.Event, str] = {
    ev.HostUp(host=A, role="standby"): "db1:5432 is up: standby",
    ev.HostUp(host=A, role="primary", down_for=1.5): ("db1:5432 is up again after 1.50 s: primary"),
    ev.HostDown(host=A, status="down", reason="Connection refused"): (
        "db1:5432 is down: Connection refused"
    ),
    ev.HostDown(host=A, status="starting", reason="the database system is shutting down"): (
        "db1:5432 accepts no connections: the database system is shutting down"
    ),
    ev.HostDown(host=A, status="unknown", reason="sorry, too many clients already"): (
        "db1:5432 can't be used: sorry, too many clients already"
    ),
    ev.HostDown(host=A, status="rejected", reason="password authentication failed"): (
        "db1:5432 rejects our login: password authentication failed"
    ),
    ev.RoleChanged(host=A, before="standby", after="primary"): (
        "db1:5432 was standby and is now primary"
    ),
    ev.SplitBrain(host=A, timeline=1, newest_timeline=2): (
        "split brain: db1:5432 claims to be primary on timeline 1, but timeline 2 is newer;"
        " it is not used"
    ),
    ev.SplitBrain(host=A, timeline=2, newest_timeline=2): (
        "split brain: db1:5432 claims to be primary on timeline 2, but so does the host in use;"
        " it is not used"
    ),
    ev.ForeignHost(host=A): (
        "db1:5432 belongs to another database cluster; remove it from the list"
    ),
    ev.ClusterRebuilt(host=A): (
        "the database cluster was rebuilt; now using db1:5432 of the new one"
    ),
    ev.HostsChanged(hosts=(A, B), added=(B,), gone=()): (
        "the list of hosts is now db1:5432, db2:5432"
    ),
    ev.Connected(host=A, seconds=0.0149): "connected to db1:5432 after 0.01 s",
    ev.Failover(before=A, after=B, reason="db1:5432 is down", seconds=0.0621): (
        "failed over from db1:5432 to db2:5432 in 0.062 s: db1:5432 is down"
    ),
    ev.Failback(before=B, after=A): "failing back from db2:5432 to the preferred db1:5432",
    ev.FailbackPostponed(
        host=A, made=12, wanted=15, reason="too many clients already", retry_after=30.0
    ): (
        "failback to db1:5432 postponed: 12 of 15 connections made, too many clients already;"
        " next try in 30 s"
    ),
    ev.FailbackPostponed(
        host=A, made=0, wanted=2, reason="no other within 5 s", retry_after=None
    ): (
        "failback to db1:5432 postponed: 0 of 2 connections made, no other within 5 s;"
        " call failback() to try again"
    ),
    ev.OutageStarted(reason="db1:5432 is down (Connection refused)"): (
        "no host qualifies: db1:5432 is down (Connection refused)"
    ),
    ev.OutageEnded(host=A, seconds=4.2): "db1:5432 qualifies after 4.20 s without a host",
    ev.Stalled(host=A): "db1:5432 does not answer, and no other host qualifies; waiting for it",
    ev.FellQuiet(seconds=300.2): (
        "unused for 300 s: closed all connections and stopped probing until the next caller"
    ),
    ev.Awoke(host=A, seconds=0.31): "awake again: connected to db1:5432 after 0.31 s",
    ev.StallEnded(host=A, seconds=3.0): "db1:5432 answers again after 3.00 s",
    ev.ReconnectFailed(seconds=300.0): "no host has qualified for 300.0 s; still searching",
    ev.GaveUp(tries=1, seconds=1.0): (
        "gave up after 1 try in 1.0 s; reconnect() starts a new search"
    ),
    ev.GaveUp(tries=7, seconds=4.0): (
        "gave up after 7 tries in 4.0 s; reconnect() starts a new search"
    ),
    ev.DialFailed(host=A, kind="saturated", reason="too many clients already"): (
        "can't add a connection to db1:5432: too many clients already"
    ),
    ev.PoolSaturated(refused=1, used=8, waiting=3, max_size=8, holders="report for 12.3 s"): (
        "the pool is exhausted: 8 of 8 connections in use, 3 waiting; 1 caller got none"
    ),
    ev.PoolSaturated(refused=5, used=8, waiting=3, max_size=8, holders=""): (
        "the pool is exhausted: 8 of 8 connections in use, 3 waiting; 5 callers got none"
    ),
    ev.HeldTooLong(task="report", seconds=301.5, stack="File ..."): (
        "a connection has been held for 301.5 s by report"
    ),
}
