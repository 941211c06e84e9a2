"""What to do about a finding where a data set wants another mend than its kind says."""

_OWN_CROPS = "results on own crops are not comparable with those on the set's."
_UNPACK = "Unpack the frames there, or name another with --frame_folder."
# Data set -> code -> mend, where that of the kind does not fit: the builders' options differ.
MENDS: dict[str, dict[str, str]] = {
    "dfew": {
        "no_frames": _UNPACK,
        "videos_only": "Get the aligned frames, or let the builder cut the faces out "
        f"(--frame_folder=original --face_detector=...); {_OWN_CROPS}",
        "label_order": "Use the official lists: DFEW has one order of the classes.",
    },
    "mafw": {
        "no_frames": _UNPACK,
        "videos_only": "Get the aligned frames, or let the builder cut the faces out "
        f"(--frame_folder=<folder of the videos> --as_videos --face_detector=...); {_OWN_CROPS}",
    },
    "afew": {
        "fold_size": "Compare the clips with those that its authors give; --partial accepts a part "
        "of the data set.",
    },
    "frame_folders": {
        "dialect": "Declare the dialect with --lists.",
        "label_base": "Declare how the labels are counted with --labels.",
        "id_overlap": "Mend the lists: a clip must not be in two of train, val and test.",
    },
}
