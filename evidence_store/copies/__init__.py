"""Evidence copies: an interview taken out so that any court can check it without us (docs/formats/package.md).

    source    what a copy is made from
    opened    a take, decrypted message by message
    survey    first pass: everything checked, every file measured
    ranges    which bytes of which file are which tick
    timeline  what of a take the viewing copy shows, and when
    render    the viewing copy, by FFmpeg in a child process
    package   second pass: the bag, its signatures, its stream
    layout    where things lie in a package
    bag       reading a package again, unpacked or as a tar file
    reading   each file once, on as many cores as there are
    walk      a take's journal without its ciphertext
    report    what a check is asked and answers
    verify    checks a package with nothing but anchors from outside

Clear media lives in memory and in pipes here, never in a file.
"""
