"""The status page: hosts, pool and recent events in one HTML page that updates itself.

`pgmoor.fastapi.status_router`, `pgmoor.starlette.status_routes` and
`pgmoor.aiohttp.add_status_page` serve it, each behind the application's own authorisation.
"""
