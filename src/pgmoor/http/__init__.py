"""HTTP responses for any framework: to health checks, and when a request gets no connection.

```python
response = health_response(await manager.health(), request.headers.get("accept"))
```
"""

from ._health import Check, health_response
from ._negotiation import Format
from ._response import Response
from ._unavailable import unavailable_cause, unavailable_response

__all__ = [
    "Check",
    "Format",
    "Response",
    "health_response",
    "unavailable_cause",
    "unavailable_response",
]
