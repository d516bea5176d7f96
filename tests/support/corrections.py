"""Files of cells as QuPath, ImageJ, napari and Cellpose write them after cells were corrected there.

Each function reads a file that mmcell wrote, changes it as a person does in the program, and writes it as the program
does, according to its source code: QuPath's ``QuPathTypeAdapters.java`` and ``ROITypeAdapters.java``, ImageJ's
``RoiManager.java``, napari's ``napari_builtins``, and ``cellpose/gui/io.py``.
"""

import json
import uuid
import zipfile

import numpy as np
import roifile
import tifffile


def correct_in_qupath(path, out, edits=()):
    """Writes GeoJSON as QuPath exports it after edits; every cell that has no edit keeps its shape and class.

    QuPath gives each object an id, writes coordinates with up to two decimals, keeps the number of a cell as its name,
    and lists the objects in an order of its own. Which keys it writes depends on the object and on the version.

    Args:
        path: GeoJSON that mmcell wrote.
        out: The file to write.
        edits: ('delete', number), ('class', number, name), ('shape', number, coordinates) and
            ('new', name, coordinates) with the coordinates of a GeoJSON polygon.
    """
    features = {int(feature['properties']['name']): feature
                for feature in json.loads(path.read_text(encoding='utf-8'))['features']}
    drawn = []
    for kind, *what in edits:
        if kind == 'delete':
            del features[what[0]]
        elif kind == 'class':
            features[what[0]]['properties']['classification'] = {'name': what[1], 'colorRGB': -65536}
        elif kind == 'shape':
            features[what[0]]['geometry'] = {'type': 'Polygon', 'coordinates': what[1]}
        else:
            drawn.append({'type': 'Feature', 'geometry': {'type': 'Polygon', 'coordinates': what[1]},
                          'properties': {'objectType': 'annotation',
                                         'classification': {'name': what[0], 'color': [200, 0, 0]}}})
    written = [_as_qupath_writes(feature, number) for number, feature in enumerate([*features.values(), *drawn])]
    # The hierarchy of QuPath has no order that users know.
    order = np.random.default_rng(0).permutation(len(written))
    out.write_text(json.dumps({'type': 'FeatureCollection', 'features': [written[place] for place in order]}, indent=2))


def _as_qupath_writes(feature, number):
    properties = dict(feature['properties'])
    if number % 3 == 1 and 'measurements' in properties:
        # Versions before 0.4 list measurements, and the user has locked the object.
        properties['measurements'] = [
            {'name': name, 'value': value} for name, value in properties['measurements'].items()]
        properties['isLocked'] = True
    elif number % 3 == 2:
        properties.update(color=[255, 0, 0], metadata={'reader': 'second'})
    geometry = feature['geometry']
    polygons = geometry['coordinates'] if geometry['type'] == 'MultiPolygon' else [geometry['coordinates']]
    polygons = [[_as_jts_writes(ring) for ring in polygon] for polygon in polygons]
    return {'type': 'Feature', 'id': str(uuid.UUID(int=number)),
            'geometry': {'type': geometry['type'],
                         'coordinates': polygons if geometry['type'] == 'MultiPolygon' else polygons[0]},
            'properties': properties}


def _as_jts_writes(ring):
    """Returns a closed ring that begins at another point and runs the other way, with up to two decimals."""
    points = ring[:-1]
    begin = len(points) // 2
    points = [*points[begin:], *points[:begin]][::-1]
    return [[round(float(value), 2) for value in point] for point in [*points, points[0]]]


def correct_in_imagej(path, out, edits=()):
    """Writes a zip of ROIs as the ROI Manager of ImageJ saves it after edits.

    Args:
        path: A zip that mmcell wrote.
        out: The file to write.
        edits: ('delete', number), ('class', number, name), ('shape', number, points) and ('new', group, points) with
            points (n, 2) float x and y in px; a new ROI is called after its place, as ``Add [t]`` calls it.
    """
    rois = {int(roi.name.split('-')[0]): roi for roi in roifile.roiread(path)}
    drawn = []
    for kind, *what in edits:
        if kind == 'delete':
            del rois[what[0]]
        elif kind == 'class':
            # Rename… changes the name, but neither group nor colour.
            rois[what[0]].name = f'{what[0]:05}-{what[1]}'
        elif kind == 'shape':
            old = rois[what[0]]
            rois[what[0]] = _freehand(what[1], old.name, old.group)
        else:
            y, x = np.mean(what[1], axis=0)[::-1].astype(int)
            drawn.append(_freehand(what[1], f'{y:04}-{x:04}', what[0]))
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as archive:
        for roi in [*list(rois.values())[::-1], *drawn]:
            archive.writestr(f'{roi.name}.roi', roi.tobytes())


def _freehand(points, name, group):
    roi = roifile.ImagejRoi.frompoints(np.asarray(points, np.float32))
    roi.roitype, roi.name, roi.group = roifile.ROI_TYPE.FREEHAND, name, group
    return roi


def correct_in_napari(path, out, edits=()):
    """Writes a label map as napari saves a labels layer after edits: as uint32, with the numbers that it has.

    Args:
        path: A label TIFF that mmcell wrote.
        out: The file to write.
        edits: ('delete', number), ('paint', number, mask (H, W) bool) and ('swap', number, number).
    """
    label_map = tifffile.imread(path).astype(np.uint32)
    for kind, number, *what in edits:
        if kind == 'delete':
            label_map[label_map == number] = 0
        elif kind == 'paint':
            label_map[what[0]] = number
        else:
            first, second = label_map == number, label_map == what[0]
            label_map[first], label_map[second] = what[0], number
    tifffile.imwrite(out, label_map, compression='zlib')


def correct_in_cellpose(path, out, edits=()):
    """Writes ``_seg.npy`` as the GUI of Cellpose saves it after masks were loaded from a label TIFF and edited.

    Masks are numbered from 1 without gaps when they are loaded, and again when one is deleted. A drawn mask gets the
    next number, and loses the pixels of the masks that are there.

    Args:
        path: A label TIFF that mmcell wrote.
        out: The file to write.
        edits: ('delete', number in Cellpose) and ('draw', mask (H, W) bool).
    """
    label_map = tifffile.imread(path)
    masks = np.unique(label_map, return_inverse=True)[1].reshape(label_map.shape).astype(np.uint16)
    for kind, what in edits:
        if kind == 'delete':
            masks[masks == what] = 0
            masks[masks > what] -= 1
        else:
            masks[what & (masks == 0)] = masks.max() + 1
    outlines = np.zeros_like(masks)
    np.save(out, {'outlines': outlines, 'colors': np.zeros((masks.max(), 3), np.uint8), 'masks': masks,
                  'filename': str(path), 'flows': [[], [], [], [], [[]]], 'ismanual': np.zeros(masks.max(), bool),
                  'manual_changes': [], 'model_path': 0, 'flow_threshold': .4, 'cellprob_threshold': 0.,
                  'normalize_params': {'lowhigh': None, 'percentile': [1., 99.]}, 'restore': None, 'ratio': 1.,
                  'diameter': 30.})
