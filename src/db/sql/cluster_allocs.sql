-- All facilities, each with its allocations (NULL when it has none) and the tags on their hosts.
-- Rows: allocations, plus facilities without one. Locks: none.
-- Tag types are compared without case: the column's default is spelled Hardware, and old rows may
-- say Alloc, while Cuebot writes upper case.
SELECT facility.pk_facility::text AS pk_facility,
       facility.str_name::text AS facility_name,
       alloc.pk_alloc::text AS pk_alloc,
       alloc.str_name::text AS alloc_name,
       EXISTS (SELECT 1 FROM host WHERE host.pk_alloc = alloc.pk_alloc) AS has_hosts,
       array_remove(array_append(COALESCE(tags.alloc, '{}'), alloc.str_tag::text), NULL) AS alloc_tags,
       COALESCE(tags.manual, '{}') AS manual_tags,
       COALESCE(tags.hostname, '{}') AS hostname_tags,
       COALESCE(tags.hardware, '{}') AS hardware_tags
  FROM facility
  LEFT JOIN alloc ON alloc.pk_facility = facility.pk_facility
  LEFT JOIN (
       SELECT host.pk_alloc,
              array_agg(DISTINCT host_tag.str_tag::text) FILTER (WHERE upper(host_tag.str_tag_type) = 'ALLOC') AS alloc,
              array_agg(DISTINCT host_tag.str_tag::text) FILTER (WHERE upper(host_tag.str_tag_type) = 'MANUAL') AS manual,
              array_agg(DISTINCT host_tag.str_tag::text) FILTER (WHERE upper(host_tag.str_tag_type) = 'HOSTNAME') AS hostname,
              array_agg(DISTINCT host_tag.str_tag::text) FILTER (WHERE upper(host_tag.str_tag_type) = 'HARDWARE') AS hardware
         FROM host
         JOIN host_tag ON host_tag.pk_host = host.pk_host
        WHERE host_tag.str_tag IS NOT NULL
        GROUP BY host.pk_alloc
       ) AS tags ON tags.pk_alloc = alloc.pk_alloc
