"""Viewing stored media: a purpose first, then an index, then segments, each checked before a byte of it is sent.

A viewing belongs to one person and one interview and ends by itself. Nothing here is cached by anybody.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Path, Request
from pydantic import BaseModel
from starlette.responses import RedirectResponse, Response

from api.identity.permissions import allow
from api.problems import problem_of
from api.routes.dependencies import Serviced, purpose
from api.services import Account, MediaTake, Services, Viewing
from api.web import page
from evidence_store.errors import NotFound, NotPermitted, Refused
from evidence_store.webm import is_webm

router = APIRouter(tags=["media"])

Player = Annotated[Account, Depends(allow("interview:media:play"))]
Opaque = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
_FILM: dict[int | str, dict[str, Any]] = {200: {"content": {"video/mp4": {}, "video/webm": {}}}}
Number = Annotated[int, Path(ge=0, le=2**31 - 1)]


class StretchOut(BaseModel):
    """In the track's timescale from the take's origin."""

    start: int
    duration: int


class SegmentOut(BaseModel):
    """Times in the track's timescale from the take's origin."""

    number: int
    epoch: int
    start: int
    duration: int
    key_frames: list[int]


class TrackOut(BaseModel):
    id: str
    camera: str
    kind: str
    timescale: int
    inits: dict[int, str]
    segments: list[SegmentOut]
    unshown: list[StretchOut]


class GapOut(BaseModel):
    start: float
    duration: float
    reason: str
    track: str | None


class ObservedOut(BaseModel):
    start: float
    duration: float
    kind: str
    track: str | None


class TakeOut(BaseModel):
    ordinal: int
    number: int
    started_at: str
    duration: float
    tracks: list[TrackOut]
    gaps: list[GapOut]
    observed: list[ObservedOut]


@router.post("/sager/{interview_id}/gennemsyn")
def open_viewing(
    request: Request,
    services: Serviced,
    account: Player,
    interview_id: Opaque,
    text: Annotated[str, Form(alias="purpose", max_length=2000)] = "",
) -> Response:
    """Begin a viewing: the purpose goes into the custody chain before anything can be seen."""
    interview = services.interviews.get(interview_id)
    try:
        viewing = services.media.open_viewing(interview_id, account, purpose(text), services.clock())
    except Refused as error:
        problem = problem_of(error)
        return page(
            request,
            "case.html",
            status=problem.status,
            interview=interview,
            takes=services.media.index(interview_id),
            copies=services.copies.of(interview_id),
            problem=problem,
            purpose="" if error.code == "cpr-number" else text,
        )
    return RedirectResponse(f"/gennemsyn/{viewing.id}", 303)


@router.get("/gennemsyn/{viewing_id}", include_in_schema=False)
def player_page(request: Request, services: Serviced, account: Player, viewing_id: Opaque) -> Response:
    viewing = _viewing(services, account, viewing_id)
    return page(
        request,
        "player.html",
        viewing=viewing,
        interview=services.interviews.get(viewing.interview),
        takes=services.media.index(viewing.interview),
    )


@router.get("/gennemsyn/{viewing_id}/indeks")
def index(services: Serviced, account: Player, viewing_id: Opaque) -> list[TakeOut]:
    """Takes, tracks, segments and declared gaps, for the player."""
    viewing = _viewing(services, account, viewing_id)
    return [_take(take) for take in services.media.index(viewing.interview)]


@router.get("/gennemsyn/{viewing_id}/{take}/{track}/init/{epoch}", responses=_FILM)
def init(
    services: Serviced, account: Player, viewing_id: Opaque, take: Number, track: Opaque, epoch: Number
) -> Response:
    """The initialisation segment of one epoch of one track: fragmented MP4, or WebM where it holds VP8."""
    viewing = _viewing(services, account, viewing_id)
    return _film(services.media.init(viewing.interview, take, track, epoch))


@router.get("/gennemsyn/{viewing_id}/{take}/{track}/{number}", responses=_FILM)
def segment(
    services: Serviced, account: Player, viewing_id: Opaque, take: Number, track: Opaque, number: Number
) -> Response:
    """One checked segment of one track, without what is `unshown`. When its check fails, a problem (`tampered`) and not
    a byte of media."""
    viewing = _viewing(services, account, viewing_id)
    return _film(services.media.segment(viewing.interview, take, track, number))


def _film(data: bytes | memoryview) -> Response:
    return Response(data, media_type="video/webm" if is_webm(data) else "video/mp4")


def _viewing(services: Services, account: Account, viewing_id: str) -> Viewing:
    """Raises NotFound, also for another person's viewing, and NotPermitted (`purpose-expired`)."""
    viewing = services.media.viewing(viewing_id)
    if viewing.account != account.id:
        raise NotFound("no such viewing of this person")
    if services.clock() >= viewing.expires_at:
        raise NotPermitted("the viewing has expired", code="purpose-expired")
    return viewing


def _take(take: MediaTake) -> TakeOut:
    return TakeOut(
        ordinal=take.ordinal,
        number=take.number,
        started_at=take.started_at.isoformat(),
        duration=take.duration,
        tracks=[
            TrackOut(
                id=track.id,
                camera=track.camera,
                kind=track.kind,
                timescale=track.timescale,
                inits={each.epoch: each.codec for each in track.inits},
                segments=[
                    SegmentOut(
                        number=each.number,
                        epoch=each.epoch,
                        start=each.start,
                        duration=each.duration,
                        key_frames=list(each.key_frames),
                    )
                    for each in track.segments
                ],
                unshown=[StretchOut(start=begin, duration=end - begin) for begin, end in track.unshown],
            )
            for track in take.tracks
        ],
        gaps=[GapOut(start=gap.start, duration=gap.duration, reason=gap.reason, track=gap.track) for gap in take.gaps],
        observed=[ObservedOut(start=e.start, duration=e.duration, kind=e.kind, track=e.track) for e in take.observed],
    )
