"""What the doctor may find: each kind of finding with its severity, its words and its mend."""

import dataclasses

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
        severity: "error" (training would be wrong), "warning" or "note".
        one: what is found, as a noun phrase.
        many: the same for several.
        mend: what to do.
    """

    severity: str
    one: str
    many: str
    mend: str


_COPY_AGAIN = "Copy or unpack them again, or leave the clips out with allow_missing=True."

KINDS: dict[str, Kind] = {
    # Layout
    "elsewhere": Kind(
        ERROR, "data set lies in another folder", "data sets lie in other folders",
        "Name that folder as the source.",
    ),
    "wrong_case": Kind(
        ERROR, "name in another case than the data set's own", "names in another case",
        "Rename them as the data set has them.",
    ),
    "archive": Kind(
        ERROR, "archive that is not unpacked", "archives that are not unpacked",
        "Unpack them in place.",
    ),
    "nested_folder": Kind(
        ERROR, "folder one level too deep", "folders one level too deep",
        "Move what is inside one level up; unpacking often makes such a folder.",
    ),
    "no_frames": Kind(
        ERROR, "missing folder of frames", "missing folders of frames",
        "Unpack the frames there.",
    ),
    "names_differ": Kind(
        ERROR, "set of frames of which the lists name no clip",
        "sets of frames of which the lists name no clip",
        "Make the names in the lists and those of the clip folders the same.",
    ),
    "no_videos": Kind(
        ERROR, "folder of videos without a single one of the clips",
        "folders of videos without a single one of the clips",
        "Unpack the videos there, or name the folder of the frames with --frame_folder.",
    ),
    "unreadable_folder": Kind(
        ERROR, "folder that cannot be read", "folders that cannot be read",
        "Give this user the right to read them.",
    ),
    "videos_only": Kind(
        WARNING, "copy with original videos only", "copies with original videos only",
        "Get the aligned frames, or let the builder cut the faces out; results on own crops are "
        "not comparable with those on the set's.",
    ),
    "time_interpolated": Kind(
        NOTE, "set of time-interpolated frames", "sets of time-interpolated frames",
        "Results are not comparable with dynamic sampling; use clip_224x224 for that.",
    ),
    # Lists
    "list_missing": Kind(
        ERROR, "missing list", "missing lists", "Copy the lists of the data set to their place."
    ),
    "list_unreadable": Kind(
        ERROR, "list that cannot be read", "lists that cannot be read",
        "Copy it again, or write it in one of the forms of docs/data.md.",
    ),
    "header": Kind(
        ERROR, "list without its header", "lists without their header",
        'Add "video_name,label" as the first row: a reader that skips a row loses the first clip.',
    ),
    "header_not_wanted": Kind(
        ERROR, "list with a header that its form does not have",
        "lists with a header that their form does not have", "Remove the first row.",
    ),
    "dialect": Kind(
        ERROR, "list in another dialect than declared", "lists in another dialect than declared",
        "Declare the dialect with --lists, and the files with --train_list and --test_list.",
    ),
    "list_form": Kind(
        ERROR, "list in a form that no dialect of the data set has",
        "lists in a form that no dialect of the data set has",
        "Write it in the form that is declared.",
    ),
    "label_decimal": Kind(
        ERROR, "label that is not written as a whole number",
        "labels that are not written as whole numbers",
        "Write them as whole numbers: 1 and not 1.0.",
    ),
    "bad_row": Kind(
        ERROR, "row of another form than the rest of its list",
        "rows of another form than the rest of their list", "Mend the rows.",
    ),
    "bad_label": Kind(
        ERROR, "label that is none of the data set", "labels that are none of the data set",
        "Mend the rows.",
    ),
    "bad_class_folder": Kind(
        ERROR, "folder that is no class of the data set", "folders that are no classes of the data "
        "set", "Rename it as the class, or move it out.",
    ),
    "label_base": Kind(
        ERROR, "set of lists with another label base than declared",
        "lists with another label base than declared",
        "Declare how the labels are counted with --labels, or use the official lists.",
    ),
    "label_base_unsure": Kind(
        WARNING, "set of lists whose labels do not tell their base",
        "sets of lists whose labels do not tell their base",
        "Look at a few clips of the lowest label: if they are not of the class that it is read as, "
        "declare the other base with --labels.",
    ),
    "label_order": Kind(
        ERROR, "set of lists whose labels count the classes in another order than declared",
        "sets of lists whose labels count the classes in another order than declared",
        "Declare the order with --list_order, or use the official lists.",
    ),
    "label_contradiction": Kind(
        ERROR, "clip with two labels", "clips with two labels", "Mend one of the two rows."
    ),
    "label_and_folder": Kind(
        ERROR, "clip whose label is not the emotion of its folder",
        "clips whose labels are not the emotions of their folders",
        "Check base and order of the labels.",
    ),
    "repeated_clip": Kind(
        ERROR, "clip that a list names twice", "clips that a list names twice",
        "Remove one of the two rows.",
    ),
    "absolute_path": Kind(
        ERROR, "row with a path of somebody's own machine",
        "rows with a path of somebody's own machine",
        "Name the beginning that has to go with --strip_prefix.",
    ),
    "id_overlap": Kind(
        ERROR, "clip in two parts of a fold", "clips in two parts of a fold",
        "Use the official lists: a clip must not be in two of train, val and test.",
    ),
    "tested_twice": Kind(
        WARNING, "clip that several folds test on", "clips that several folds test on",
        "Use the official lists: pooled results would count such a clip more than once.",
    ),
    "fold_size": Kind(
        ERROR, "fold of another size than the official one",
        "folds of other sizes than the official ones",
        "Use the official lists; --partial accepts a part of the data set.",
    ),
    "class_counts": Kind(
        ERROR, "difference from the official class counts",
        "differences from the official class counts",
        "Use the official lists; --partial accepts a part of the data set.",
    ),
    "part_empty": Kind(
        ERROR, "part without a clip", "parts without a clip",
        "Give it clips: a train part is needed for training, a test part for evaluation.",
    ),
    "class_absent": Kind(
        ERROR, "class without a clip in a part", "classes without a clip in a part",
        "Mend the lists or folders, or prepare with allow_empty_classes=True if this is meant.",
    ),
    "class_not_judged": Kind(
        ERROR, "class without a clip in a part that is judged",
        "classes without a clip in a part that is judged",
        "Mend the lists or folders; preparing takes such a set, but the class has no recall.",
    ),
    "refused": Kind(
        ERROR, "fault at which preparing this copy stops",
        "faults at which preparing this copy stops", "Mend it; the builder reads more strictly.",
    ),
    # Clips and frames
    "missing_clip": Kind(ERROR, "missing clip folder", "missing clip folders", _COPY_AGAIN),
    "dead_link": Kind(
        ERROR, "link that leads to no clip", "links that lead to no clip",
        "Remove it, or let it lead to the frames: preparing stops at it.",
    ),
    "empty_clip": Kind(
        ERROR, "clip folder without an image", "clip folders without an image", _COPY_AGAIN
    ),
    "unreadable_video": Kind(
        ERROR, "video that cannot be opened", "videos that cannot be opened", _COPY_AGAIN
    ),
    "damaged_video": Kind(
        ERROR, "video whose frames cannot all be read", "videos whose frames cannot all be read",
        "Copy them again, or prepare with allow_frame_counts=True to take what can be read.",
    ),
    "unlisted_clip": Kind(
        NOTE, "clip on disk that no list names", "clips on disk that no list names",
        "Nothing, if they are not single-labelled: they are not used.",
    ),
    "unreadable_frame": Kind(
        ERROR, "frame that cannot be read", "frames that cannot be read", _COPY_AGAIN
    ),
    "empty_frame": Kind(ERROR, "frame of 0 bytes", "frames of 0 bytes", _COPY_AGAIN),
    "not_image": Kind(
        ERROR, "frame that is no image by its content", "frames that are no images by content",
        _COPY_AGAIN,
    ),
    "damaged_frame": Kind(
        ERROR, "truncated or damaged frame", "truncated or damaged frames", _COPY_AGAIN
    ),
    "huge_frame": Kind(
        ERROR, "image too large to be a frame", "images too large to be frames",
        "Cut the faces out and save them small.",
    ),
    "wrong_suffix": Kind(
        NOTE, "frame whose content is another format than its suffix says",
        "frames whose content is another format than their suffix says",
        "Nothing: they are read by their content.",
    ),
    "other_file": Kind(
        NOTE, "file beside the frames that is none", "files beside the frames that are none",
        "Nothing: they are passed over.",
    ),
    "frame_count": Kind(
        ERROR, "clip with another number of frames than declared",
        "clips with another number of frames than declared",
        "Copy them again, or prepare with allow_frame_counts=True and say so.",
    ),
    "not_sixteen": Kind(  # short clips of the official copy may be among them
        WARNING, "time-interpolated clip without 16 frames",
        "time-interpolated clips without 16 frames",
        "Compare with another copy; a few of 11 to 15 frames are known of DFEW.",
    ),
    "not_interpolated": Kind(
        ERROR, "folder of time-interpolated frames in which most clips do not have 16 frames",
        "folders of time-interpolated frames in which most clips do not have 16 frames",
        "These look like frames of the original length under another name: see where they come "
        "from, and rename the folder.",
    ),
    "all_sixteen": Kind(
        ERROR, "folder of frames of the original length in which every clip has 16 frames",
        "folders of frames of the original length in which every clip has 16 frames",
        "These look like time-interpolated frames under another name: get the original ones.",
    ),
    "single_frame": Kind(
        WARNING, "clip of one frame", "clips of one frame",
        "Check that the others were not lost: such a clip has no movement.",
    ),
    "mixed_sizes": Kind(
        WARNING, "clip with frames of different sizes", "clips with frames of different sizes",
        "Crop a clip with one box: frames are resized to one size.",
    ),
    "not_square": Kind(
        WARNING, "clip with frames that are not square", "clips with frames that are not square",
        "Crop square: frames are resized to a square, and these are squeezed.",
    ),
    "unusual_size": Kind(
        WARNING, "clip with frames of an unusual size", "clips with frames of an unusual size",
        "Check where the frames come from: DFEW's own have 224 pixels, some copies 256.",
    ),
    "uncropped": Kind(
        ERROR, "set of frames that look un-cropped", "sets of frames that look un-cropped",
        "Cut the faces out: the model is made for faces that fill the frame.",
    ),
    "small_face": Kind(
        WARNING, "clip of the sample with a small face", "clips of the sample with small faces",
        "Look at the sample frames: the crop may have missed the face.",
    ),
    "no_face": Kind(
        WARNING, "clip of the sample without a face", "clips of the sample without a face",
        "Look at the sample frames: the crop may have missed the face.",
    ),
    "faces_not_examined": Kind(
        NOTE, "look at faces that was not taken", "looks at faces that were not taken",
        "Give --face_detector=<the ONNX file of YuNet> to see whether the frames are cropped.",
    ),
    "faces_in_videos": Kind(
        NOTE, "look at faces that was not taken", "looks at faces that were not taken",
        "Faces are looked at in folders of frames only: --face_detector changes nothing for "
        "videos here. Preparing names the videos in which it finds no face.",
    ),
    # Order of frames
    "text_order": Kind(
        NOTE, "clip whose frames would be scrambled by sorting their names as text",
        "clips whose frames would be scrambled by sorting their names as text",
        "Nothing here: frames are sorted by number. Other programs may scramble them.",
    ),
    "mixed_padding": Kind(
        WARNING, "clip with both padded and unpadded frame numbers",
        "clips with both padded and unpadded frame numbers",
        "Check that no clip holds the frames of two extractions.",
    ),
    "same_number": Kind(
        WARNING, "clip with several frames of one number",
        "clips with several frames of one number",
        "Check that no clip holds the frames of two extractions or of two faces.",
    ),
    "order_unsure": Kind(
        WARNING, "clip whose names have two numbers that say different orders of its frames",
        "clips whose names have two numbers that say different orders of their frames",
        "See that the order shown is that of the film; if not, number the frames 1, 2, 3.",
    ),
    "gaps": Kind(
        WARNING, "clip with gaps in its frame numbers", "clips with gaps in their frame numbers",
        "Check that no frames were lost; a face detector that failed leaves such gaps too.",
    ),
    # Duplicates
    "frozen_clip": Kind(
        WARNING, "frozen clip, all frames the same", "frozen clips, all frames the same",
        "Leave them out, or know that they have no movement.",
    ),
    "repeated_frames": Kind(
        NOTE, "clip with repeated frames", "clips with repeated frames",
        "Nothing, if the film stands still there.",
    ),
    "same_clip": Kind(
        WARNING, "pair of clips with the same content", "pairs of clips with the same content",
        "Look at both: one of the two may be a mistake.",
    ),
    "two_labels": Kind(
        WARNING, "pair of clips with the same content and two labels",
        "pairs of clips with the same content and two labels",
        "Look at both: one of the two labels is wrong.",
    ),
    "content_overlap": Kind(
        ERROR, "pair of clips with the same content in two parts of a fold",
        "pairs of clips with the same content in two parts of a fold",
        "Take one of the two out: what is judged must not be seen in training or selection.",
    ),
    "shared_frames": Kind(
        WARNING, "pair of clips in two parts of a fold that share frames",
        "pairs of clips in two parts of a fold that share frames",
        "Look at them: pieces of one scene may be trained on and judged.",
    ),
}  # fmt: skip
