"""What stands in the interview room: cameras, and the profile that names them.

Imports none of the other packages. A camera speaks WHIP (RFC 9725) and HTTP,
so that ours has no rights that a third party's has not.

    profile          a room's cameras and tracks, read from TOML
    simulated_room   two invented cameras whose picture and sound carry UTC, encoded once and cached
    picture_clock    the clock in that picture and the tick in that sound, and how to read them back
    clip_stream      a clip as an endless, paced stream of bytes, nothing re-encoded
    loopback_http    a little HTTP for one client on loopback: what the door and a drill's cable are made of
    signalling       a camera's own door to a WHIP endpoint, so that the token is in no process list
    camera           publishes a clip through FFmpeg's WHIP muxer and comes back by itself
"""
