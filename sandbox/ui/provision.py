"""A program for Open WebUI's environment: brings the accounts in line, with its own code.

``python -I provision.py open|protected``, with the environment that Open WebUI is started with.
"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid

VISITOR = "admin@localhost"
# bcrypt of "admin", the only password that Open WebUI tries when there is no login. No secret,
# so the cheapest cost: every visit computes it.
OPEN_PASSWORD_HASH = "$2b$04$MKIuiZMXPlSuYI.wo8ISC.bxq0K4OBzrX6HBy9xWxcRue02LNOK0i"


async def main(access: str) -> None:
    """Make both accounts what ``access`` (``open`` or ``protected``) asks for."""
    # As its command line does: files lie where the package has them. Importing the configuration
    # migrates the database.
    os.environ["FROM_INIT_PY"] = "true"
    import open_webui.config  # type: ignore[import-not-found]  # noqa: F401
    from open_webui.internal.db import get_async_db  # type: ignore[import-not-found]
    from open_webui.models.auths import Auth, Auths  # type: ignore[import-not-found]
    from open_webui.models.users import User  # type: ignore[import-not-found]
    from open_webui.utils.auth import get_password_hash  # type: ignore[import-not-found]
    from sqlalchemy import func, select, update  # type: ignore[import-not-found]

    async def find(*conditions: object) -> str | None:
        async with get_async_db() as db:
            query = select(User.id).join(Auth, Auth.id == User.id).where(*conditions)
            found: str | None = (await db.execute(query)).scalars().first()
            return found

    async def change(user: str, role: str, **auth: object) -> None:
        # A new stamp ends the sessions that were given out under the old role.
        values = {"active": True, "session_stamp": str(uuid.uuid4()), **auth}
        async with get_async_db() as db:
            await db.execute(update(User).where(User.id == user).values(role=role))
            await db.execute(update(Auth).where(Auth.id == user).values(**values))
            await db.commit()

    is_visitor = func.lower(User.email) == VISITOR
    if not await find(User.role == "admin", Auth.active, ~is_visitor):
        email = os.environ["WEBUI_ADMIN_EMAIL"]
        password = await get_password_hash(os.environ["WEBUI_ADMIN_PASSWORD"])
        former = await find(func.lower(User.email) == email)
        if former:
            await change(former, "admin", password=password)
        else:
            await Auths.insert_new_auth(email, password, "Admin", role="admin")

    visitor = await find(is_visitor)
    if access == "open":
        if visitor:
            await change(visitor, "user", password=OPEN_PASSWORD_HASH)
        else:
            await Auths.insert_new_auth(VISITOR, OPEN_PASSWORD_HASH, "Guest", role="user")
    elif visitor:
        # Its chats stay, for the administrator to see, and come back with open mode.
        password = await get_password_hash(str(uuid.uuid4()))
        await change(visitor, "pending", password=password)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
