"""What `vidne verify` says to people, and the single file that says the same with Python and `cryptography` alone.

    grade        how strongly a copy is proven, from facts: one table
    words        every sentence for people, in Danish and English
    verdict      what is proven, by whom, when, and what is not
    screen       any console, also one that knows few letters; progress on long work
    command      arguments, exit codes, the machine's form
    single_file  builds that file, the same bytes each time

The check itself is `evidence_store.copies.verify`. Nothing here or below it is of one operating system.
"""
